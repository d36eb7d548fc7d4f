//! `Users`: names with Argon2id hashes of passwords, as they lie in a file.
//!
//! One user a line, `NAME:$argon2id$v=19$m=…,t=…,p=…$SALT$HASH` (the PHC string format); empty
//! lines and such as begin with `#` are none. Knows no connections and no threads.

use std::collections::BTreeMap;
use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use argon2::{ARGON2ID_IDENT, Argon2, Params};

/// Who may come in.
pub(crate) struct Users {
    by_name: BTreeMap<String, PasswordHash>,
    /// What is computed for a name that nobody has: costs as much, and lets nobody in.
    nobody: PasswordHash,
}

impl Users {
    pub(crate) fn parse(text: &str) -> Result<Users, UsersError> {
        let mut by_name = BTreeMap::new();
        let mut common = None;
        for (at, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what| UsersError { line: at + 1, what };
            let (name, hash) = line.split_once(':').ok_or(wrong("no NAME:HASH"))?;
            let hash = PasswordHash::new(hash).map_err(|_| wrong("no hash in PHC format"))?;
            let costs = costs_of(&hash).ok_or(wrong("no hash of Argon2id, or one too dear"))?;
            if !is_name(name) {
                return Err(wrong("no name that anybody could log in with"));
            }
            if common.get_or_insert((costs.clone(), hash.clone())).0 != costs {
                return Err(wrong(
                    "other costs than above: who waits learns who is a user",
                ));
            }
            if by_name.insert(name.to_owned(), hash).is_some() {
                return Err(wrong("the name is taken"));
            }
        }
        let nobody = common.map(|(_, hash)| hash).ok_or(UsersError {
            line: 0,
            what: "nobody is in it",
        })?;
        Ok(Users { by_name, nobody })
    }

    /// Whether that is the user's password. Takes as long for a name that nobody has, and most of
    /// that is meant to be long: never to be called on a loop.
    pub(crate) fn is_right(&self, name: &str, password: &[u8]) -> bool {
        match Argon2::default().verify_password(password, self.hash_for(name)) {
            Ok(()) => self.by_name.contains_key(name),
            Err(Error::PasswordInvalid) => false,
            Err(error) => {
                log::error!("a password could not be checked: {error}");
                false
            }
        }
    }

    /// What a password for that name is compared with.
    pub(crate) fn hash_for(&self, name: &str) -> &PasswordHash {
        self.by_name.get(name).unwrap_or(&self.nobody)
    }
}

/// A hash of a new password, with salt of its own, as it stands in the file.
pub(crate) fn hash(password: &[u8]) -> Result<String, Error> {
    let hash: PasswordHash = Argon2::default().hash_password(password)?;
    Ok(hash.to_string())
}

/// Names are what a line has room for: visible, without a space or a colon.
pub(crate) fn is_name(name: &str) -> bool {
    let is_part = |c: char| !c.is_whitespace() && !c.is_control() && c != ':';
    !name.is_empty() && !name.starts_with('#') && name.chars().all(is_part)
}

/// What a hash costs, if it is one that can be computed here.
fn costs_of(hash: &PasswordHash) -> Option<Params> {
    let is_ours = hash.algorithm == ARGON2ID_IDENT && hash.salt.is_some() && hash.hash.is_some();
    let costs = Params::try_from(hash).ok().filter(|_| is_ours)?;
    (costs.m_cost() <= MAX_KIB && costs.t_cost() <= MAX_PASSES).then_some(costs)
}

/// What is wrong with a file of users. Says where, and nothing of what stands there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsersError {
    /// From 1; 0 is the whole file.
    pub(crate) line: usize,
    what: &'static str,
}

impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for UsersError {}

/// Memory that one hash may take, in KiB …
const MAX_KIB: u32 = 1024 * 1024;
/// … and how often it may be gone over.
const MAX_PASSES: u32 = 100;
