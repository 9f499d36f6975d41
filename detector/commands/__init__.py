"""What the commands do, a file each. They compose the daemon's parts; nothing imports them."""
