//! What is shipped: the package in a clean Debian, the image's contents, the unit, the compose file; and whether the documents about
//! them say what is so.

mod compose;
mod engine;
mod image;
mod package;
mod root;
mod security;
mod unit;
