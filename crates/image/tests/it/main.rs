//! Images as people save them, and images as somebody would who means harm.

mod build;
mod honest;
mod hostile;
mod registry;
mod registry_hostile;
mod server;
mod written;
