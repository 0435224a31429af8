//! Compiles the two lists in `data/` into forms that are smaller and need no parsing at run time.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    path::PathBuf,
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use webpki::anchor_from_trusted_cert;
use xorf::{BinaryFuse16, DmaSerializable};

const CERTIFICATES: &str = "data/rds-roots.pem";
const PASSWORDS: &str = "data/common-passwords.txt";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed={CERTIFICATES}");
    fs::write(out.join("rds_roots.rs"), trust_anchors()?)?;

    println!("cargo::rerun-if-changed={PASSWORDS}");
    let filter = filter()?;
    let mut descriptor = [0; BinaryFuse16::DESCRIPTOR_LEN];
    filter.dma_copy_descriptor_to(&mut descriptor);
    fs::write(out.join("common_passwords.descriptor"), descriptor)?;
    let fingerprints = filter.dma_fingerprints();
    fs::write(out.join("common_passwords.fingerprints"), fingerprints)?;
    Ok(())
}

/// Renders the RDS root certificates as a Rust expression of `TrustAnchor`s: each one's name and key, which is all that
/// verification reads.
fn trust_anchors() -> Result<String, Box<dyn Error>> {
    let mut anchors = String::new();
    for certificate in CertificateDer::pem_file_iter(CERTIFICATES)? {
        let certificate = certificate?;
        let anchor = anchor_from_trusted_cert(&certificate)?;
        if anchor.name_constraints.is_some() {
            return Err("a root's name constraints would be lost".into());
        }
        let (subject, key) = (&*anchor.subject, &*anchor.subject_public_key_info);
        writeln!(
            anchors,
            "TrustAnchor {{
                subject: Der::from_slice(&{subject:?}),
                subject_public_key_info: Der::from_slice(&{key:?}),
                name_constraints: None,
            }},"
        )?;
    }
    Ok(format!("&[{anchors}]"))
}

/// Builds a filter of the most common passwords. It hashes as `auth::common_passwords` does.
fn filter() -> Result<BinaryFuse16, Box<dyn Error>> {
    let hasher = BuildHasherDefault::<DefaultHasher>::new();
    let passwords = fs::read_to_string(PASSWORDS)?;
    let hashes: Vec<u64> = passwords.lines().map(|password| hasher.hash_one(password)).collect();
    Ok(BinaryFuse16::try_from(hashes)?)
}
