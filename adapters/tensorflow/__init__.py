"""The backend `tensorflow`: TensorFlow and Keras, eager, traced, and compiled by XLA."""
