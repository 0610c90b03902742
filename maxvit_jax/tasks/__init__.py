"""What the trainer trains: recognition tasks."""
