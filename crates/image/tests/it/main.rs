//! Images as people save them, and images as somebody would who means harm.

mod build;
mod honest;
mod hostile;
mod written;
