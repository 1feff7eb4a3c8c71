//! The folder, its files and its database as another crate uses them, with real processes and real kills.

mod dir;
mod files;
mod killed;
mod table;
