"""What is asked: hazards, generated problems and stored cases."""
