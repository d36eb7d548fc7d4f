//! `Paths`: which route a path belongs to.
//!
//! Knows patterns and their numbers, and nothing of what they lead to.

use super::error::RouteError;

/// Patterns, each with the number of its route.
#[derive(Default)]
pub(super) struct Paths {
    patterns: matchit::Router<usize>,
    /// Those without parameters once more, by their length: most requests are for one of them, and
    /// a comparison finds it. They win over the others in any case.
    fixed: Vec<Vec<(Box<[u8]>, usize)>>,
}

/// A route, and what the parameters of its pattern stand for, if it may have any.
pub(super) struct Found<'a> {
    pub(super) route: usize,
    pub(super) params: Option<matchit::Params<'a, 'a>>,
}

impl Paths {
    /// Adds a pattern.
    pub(super) fn insert(&mut self, pattern: &str, route: usize) -> Result<(), RouteError> {
        self.patterns
            .insert(pattern, route)
            .map_err(|error| match error {
                matchit::InsertError::Conflict { .. } => RouteError::Taken,
                _ => RouteError::Pattern,
            })?;
        let len = pattern.len();
        if len <= MAX_FIXED_LEN && !pattern.contains(['{', '}']) {
            if self.fixed.len() <= len {
                self.fixed.resize_with(len + 1, Vec::new);
            }
            if self.fixed[len].len() < MAX_FIXED {
                self.fixed[len].push((pattern.as_bytes().into(), route));
            }
        }
        Ok(())
    }

    /// What a path belongs to.
    #[inline]
    pub(super) fn find<'a>(&'a self, path: &'a [u8]) -> Option<Found<'a>> {
        let fixed = self.fixed.get(path.len()).map_or(&[][..], Vec::as_slice);
        if let Some(&(_, route)) = fixed.iter().find(|(fixed, _)| **fixed == *path) {
            return Some(Found {
                route,
                params: None,
            });
        }
        self.find_pattern(path)
    }

    fn find_pattern<'a>(&'a self, path: &'a [u8]) -> Option<Found<'a>> {
        let found = self.patterns.at(std::str::from_utf8(path).ok()?).ok()?;
        Some(Found {
            route: *found.value,
            params: Some(found.params),
        })
    }
}

/// Bytes of a path that is found by comparison.
const MAX_FIXED_LEN: usize = 64;
/// Paths of one length that are compared.
const MAX_FIXED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_whether_or_not_it_is_one_of_those_that_are_compared() {
        let mut paths = Paths::default();
        let fixed: Vec<String> = (10..40).map(|number| format!("/a/{number}")).collect();
        for (route, path) in fixed.iter().enumerate() {
            paths.insert(path, route).unwrap();
        }
        paths.insert("/a/{x}", 100).unwrap();
        paths.insert(&"/long".repeat(20), 101).unwrap();
        let find = |path: &str| paths.find(path.as_bytes()).map(|found| found.route);
        for (route, path) in fixed.iter().enumerate() {
            assert_eq!(find(path), Some(route), "{path}");
        }
        assert_eq!(find("/a/40"), Some(100));
        assert_eq!(find(&"/long".repeat(20)), Some(101));
        assert_eq!(find("/b"), None);
        assert_eq!(find("/b/40"), None);
    }
}
