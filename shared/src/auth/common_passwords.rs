//! Refuses the most common passwords, which nobody may choose.
//!
//! `shared/data/common-passwords.txt` lists them in lower case. As it is, the list would add 450 KB to a function;
//! `build.rs` makes a filter of 100 KB of it. The filter finds every listed password, and takes one in 65 000 others
//! for a listed one.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use xorf::{BinaryFuse16Ref, Filter, FilterRef};

const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/common_passwords.descriptor"));
static FINGERPRINTS: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/common_passwords.fingerprints")));

/// Aligns the filter's fingerprints, which have 16 bits each, so that they are read in place.
#[repr(C, align(2))]
struct Aligned<Bytes: ?Sized>(Bytes);

/// Looks a password up, in whatever case.
pub(super) fn contains(password: &str) -> bool {
    // The same as in `build.rs`.
    let hasher = BuildHasherDefault::<DefaultHasher>::new();
    let filter = BinaryFuse16Ref::from_dma(DESCRIPTOR, &FINGERPRINTS.0);
    filter.contains(&hasher.hash_one(&*password.to_lowercase()))
}

#[cfg(test)]
mod tests {
    //! Tests that the filter knows the list.

    use super::*;

    #[test]
    fn all_of_the_list_are_known() {
        let list = include_str!("../../data/common-passwords.txt");
        assert!(list.lines().count() > 40_000);
        let unknown: Vec<_> = list.lines().filter(|line| !contains(line)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn others_are_not() {
        let mistaken: Vec<_> =
            (0..1_000).map(|number| format!("correct horse {number}")).filter(|password| contains(password)).collect();
        assert!(mistaken.is_empty(), "{mistaken:?}");
    }
}
