//! A kubeconfig file.

use crate::Client;
use api::Result;
use std::path::Path;

/// What a kubeconfig's current context says.
#[derive(Clone, Debug, Default)]
pub struct Kubeconfig {
    /// The server's address, with a path that is put in front of every request's.
    pub server: String,
}

impl Kubeconfig {
    /// Reads the current context of a file.
    pub fn read(path: &Path) -> Result<Kubeconfig> {
        let _ = path;
        Err(api::Error::bad_request("no kubeconfig"))
    }
}

impl Client {
    /// A client of the server and the user that a kubeconfig's current context names.
    pub fn from_kubeconfig(path: &Path) -> Result<Client> {
        Kubeconfig::read(path)?;
        Err(api::Error::bad_request("no kubeconfig"))
    }
}
