"""One file a backend (backend_NAME.py): how to ask it for losses and derivatives, in which dtype, on which device."""
