//! `ursa backup` and `ursa restore`.
//!
//! Invariant: a backup has its name only when all of it was written, synced and read back; a restore touches nothing
//! before all of the file was found sound.

use crate::args::{BackupArgs, RestoreArgs};
use crate::tenant::{block_on, client};
use api::TenantName;
use bytes::Bytes;
use client::Client;
use futures::StreamExt;
use http::Request;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use store::{Restore, RestoreError};

/// Writes a backup. `Err` is one sentence for the operator.
pub fn backup(args: BackupArgs) -> Result<(), String> {
    let name = args.file.display();
    if args.file.exists() {
        return Err(format!("{name} exists already; choose another name"));
    }
    let tenant = args.tenant.as_deref().map(TenantName::new).transpose().map_err(|e| e.to_string())?;
    let mut new = args.file.clone().into_os_string();
    new.push(".new");
    let new = PathBuf::from(new);
    let path = tenant.map_or_else(|| PATH.to_owned(), |tenant| format!("{PATH}?tenant={tenant}"));
    let written = block_on(async {
        let client = client(&args.client)?;
        download(&client, &path, &new).await
    });
    let read = written.and_then(|()| {
        let mut backup = open(&new)?;
        let objects = count(&mut backup).map_err(|why| format!("the backup did not arrive whole: {why}"))?;
        keep(&new, &args.file).map_err(|e| format!("{name} cannot be written: {e}"))?;
        Ok((objects, backup.revision()))
    });
    match read {
        Ok((objects, revision)) => {
            println!("{objects} objects at revision {revision} are in {name}");
            Ok(())
        }
        Err(why) => {
            // A part of a backup is of no use.
            drop(fs::remove_file(&new));
            Err(why)
        }
    }
}

/// Restores everything into an empty data directory, or one tenant into a running server.
pub fn restore(args: RestoreArgs) -> Result<(), String> {
    let name = args.file.display();
    let damaged = |why: &dyn std::fmt::Display| format!("{name} cannot be restored: {why}; nothing was changed");
    // All of it is read once before anything is touched.
    count(&mut open(&args.file)?).map_err(|why| damaged(&why))?;
    let mut backup = open(&args.file)?;
    match (args.data_dir, args.tenant) {
        (Some(dir), None) => {
            let store = dir.join("store");
            let file = File::open(&args.file).map_err(|e| format!("{name} cannot be read: {e}"))?;
            let restored = store::restore(&store, BufReader::new(file), kinds::Registry::selectable);
            let restored = restored.map_err(|error| match error {
                RestoreError::OneTenant(tenant) => {
                    format!(
                        "{name} is of tenant {tenant} alone; restore it into a running server with --tenant {tenant}"
                    )
                }
                other => other.to_string(),
            })?;
            println!(
                "{} objects are in {}, which goes on at revision {}",
                restored.objects,
                dir.display(),
                restored.revision
            );
            Ok(())
        }
        (None, Some(tenant)) => {
            let tenant = TenantName::new(&tenant).map_err(|e| e.to_string())?;
            let part = store::extract(&mut backup, &tenant).map_err(|why| damaged(&why))?;
            let part = part.ok_or_else(|| damaged(&format!("tenant {tenant} is not in it")))?;
            let objects = block_on(async {
                let client = client(&args.client)?;
                upload(&client, &tenant, part).await
            })?;
            println!("tenant/{tenant} restored with {objects} objects");
            Ok(())
        }
        (Some(_), Some(_)) | (None, None) => {
            Err("say where to: --data-dir DIR for everything, or --tenant NAME into a running server".to_owned())
        }
    }
}

/// Where API servers give and take backups.
const PATH: &str = "/backup";

async fn download(client: &Client, path: &str, to: &Path) -> Result<(), String> {
    let request = Request::get(path).body(Bytes::new()).map_err(|e| e.to_string())?;
    let mut pieces = client.request(request).await.map_err(|e| e.to_string())?.into_body();
    let failed = |e: io::Error| format!("{} cannot be written: {e}", to.display());
    // It holds every secret.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to).map_err(failed)?;
    while let Some(piece) = pieces.next().await {
        file.write_all(&piece.map_err(|e| e.to_string())?).map_err(failed)?;
    }
    file.sync_all().map_err(failed)
}

async fn upload(client: &Client, tenant: &TenantName, backup: Vec<u8>) -> Result<u64, String> {
    let request =
        Request::post(format!("{PATH}?tenant={tenant}")).body(Bytes::from(backup)).map_err(|e| e.to_string())?;
    let mut pieces = client.request(request).await.map_err(|e| e.to_string())?.into_body();
    let mut answer = Vec::new();
    while let Some(piece) = pieces.next().await {
        answer.extend_from_slice(&piece.map_err(|e| e.to_string())?);
    }
    let answer: serde_json::Value = serde_json::from_slice(&answer).map_err(|e| e.to_string())?;
    answer["objects"].as_u64().ok_or_else(|| "the server did not say what it has restored".to_owned())
}

fn open(path: &Path) -> Result<Restore<BufReader<File>>, String> {
    let file = File::open(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    Restore::open(BufReader::new(file)).map_err(|why| format!("{} cannot be restored: {why}", path.display()))
}

/// Reads all of a backup and counts its objects.
fn count(backup: &mut Restore<BufReader<File>>) -> Result<u64, store::BackupError> {
    let mut objects = 0;
    while backup.record()?.is_some() {
        objects += 1;
    }
    Ok(objects)
}

/// Gives a complete file its name.
fn keep(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
