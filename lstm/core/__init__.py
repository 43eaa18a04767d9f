"""What an LSTM is and computes: architecture, weights, states, and both backends.

Nothing here knows the class `LSTM`, a file format or a framework; they are faces over this.
"""
