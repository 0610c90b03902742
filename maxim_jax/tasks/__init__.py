"""What the trainer trains: restoration tasks."""
