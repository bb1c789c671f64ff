"""What a user waits for, and a generator of networks to wait with."""
