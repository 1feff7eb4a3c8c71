//! A node as its clients see it.

mod blocks;
mod calls;
mod clients;
mod killed;
mod logs;
mod sending;
mod serving;
mod support;
