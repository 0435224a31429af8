//! Does what AWS does around a function.

pub mod api_gateway;
pub mod entrance;
pub mod environments;
pub mod events;
pub mod functions;
pub mod logs;
pub mod runtime_api;
pub mod triggers;
