"""What ``new_backend`` writes; private, and the files below ``files/`` are data."""
