//! Takes ports of this machine, and names the holder of one that is in use.

use std::net::TcpListener;

use anyhow::{Context, Result};

/// Which ports the parts of a stack take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ports {
    /// Any that are free.
    #[default]
    Free,
    /// Always the same, those of `cargo local`.
    Fixed,
}

impl Ports {
    /// Chooses the port of the part whose fixed port is `number`.
    pub fn port(self, number: u16) -> Port {
        match self {
            Self::Free => Port::Free,
            Self::Fixed => Port::Fixed(number),
        }
    }
}

/// A port of this machine.
#[derive(Debug, Clone, Copy)]
pub enum Port {
    /// Any that is free.
    Free,
    /// This one.
    Fixed(u16),
}

impl Port {
    /// Finds a number that was free a moment ago.
    pub fn number(self) -> Result<u16> {
        Ok(self.listen()?.local_addr()?.port())
    }

    /// Listens on it, for a server in this process.
    pub fn listen(self) -> Result<TcpListener> {
        let port = match self {
            Self::Free => 0,
            Self::Fixed(port) => port,
        };
        let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| {
            let holders = listeners::get_processes_by_port(port).unwrap_or_default();
            let holder = holders.iter().next().map_or_else(
                || "another program".to_owned(),
                |process| format!("{} (process {})", process.name, process.pid),
            );
            format!("port {port} is in use by {holder}; stop it, then start again")
        })?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named() {
        let taken = Port::Free.listen().unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Port::Fixed(port).number().unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} is in use by")), "{error}");
    }
}
