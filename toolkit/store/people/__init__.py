"""Who there is: users, accounts, grants, passwords, and the trail of what they did."""
