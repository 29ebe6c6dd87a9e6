"""What people bring: how each source lists its people and where it keeps labels and landmarks."""
