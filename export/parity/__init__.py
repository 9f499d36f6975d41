"""How near a bundle comes to what it was made from."""
