//! Values of every type, keys of every kind.
