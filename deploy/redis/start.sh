#!/bin/sh
# Redis with one user that may do what Seatrial's queues need and nothing else (no FLUSHALL, no CONFIG, no other keys).
# noeviction: a full Redis must refuse a message, never drop one. appendonly: messages survive a restart; the database's
# outbox would publish them again anyway.
set -eu
umask 077
sed "s|SEATRIAL_REDIS_PASSWORD|${SEATRIAL_REDIS_PASSWORD:?set it}|" "${SEATRIAL_ACL_TEMPLATE:-/etc/seatrial/users.acl}" > "${SEATRIAL_ACL_FILE:-/data/users.acl}"
exec redis-server --appendonly yes --maxmemory-policy noeviction --protected-mode yes \
    --aclfile "${SEATRIAL_ACL_FILE:-/data/users.acl}" "$@"
