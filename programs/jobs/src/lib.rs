//! A job server over HTTP, of the parts of brigade.

pub mod http;
pub mod work;
