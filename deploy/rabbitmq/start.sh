#!/bin/sh
# RabbitMQ with a virtual host of its own and one user that may touch Seatrial's queues only; there is no guest.
set -eu
umask 077
folder=${SEATRIAL_RABBITMQ_FOLDER:-/var/lib/rabbitmq}
sed "s|SEATRIAL_RABBITMQ_PASSWORD|${SEATRIAL_RABBITMQ_PASSWORD:?set it}|" \
    "${SEATRIAL_DEFINITIONS_TEMPLATE:-/etc/seatrial/definitions.json}" > "$folder/definitions.json"
printf 'load_definitions = %s\nloopback_users = none\n' "$folder/definitions.json" > "$folder/seatrial.conf"
export RABBITMQ_CONFIG_FILE="$folder/seatrial"
exec docker-entrypoint.sh rabbitmq-server
