//! How many files and sockets this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as the process may. Many systems start processes with a soft limit of 1,024, for programs
/// that use `select`; this one does not.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err()
    {
        tracing::warn!(limit = current, "cannot raise the limit of open files");
    }
}

/// Returns how many files and sockets this process may have open.
pub fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current.map(usize::try_from);
    limit.and_then(Result::ok).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f06_the_limit_is_raised_as_far_as_the_process_may() {
        raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert!(limit() > 0);
    }
}
