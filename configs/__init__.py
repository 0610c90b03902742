"""One file per recipe a user can run."""
