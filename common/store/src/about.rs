//! What a Redis server says of itself.

/// A Redis server. `None`: it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub version: Option<String>,
    /// Bytes in use.
    pub used_memory: Option<u64>,
    /// The most bytes that it takes; 0: no limit.
    pub max_memory: Option<u64>,
    pub policy: Option<String>,
    /// `master` or `slave`, as Redis calls them.
    pub role: Option<String>,
    /// Replicas that are connected.
    pub replicas: Option<u32>,
}

impl About {
    /// Reads the answer to `INFO`.
    pub(crate) fn of(info: &str) -> Self {
        let word = |name: &str| {
            let line = |line: &str| {
                line.strip_prefix(name)?.strip_prefix(':').map(str::trim).map(str::to_owned)
            };
            info.lines().find_map(line)
        };
        let number = |name: &str| word(name)?.parse().ok();
        Self {
            version: word("redis_version"),
            used_memory: number("used_memory"),
            max_memory: number("maxmemory"),
            policy: word("maxmemory_policy"),
            role: word("role"),
            replicas: number("connected_slaves").and_then(|replicas| replicas.try_into().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_does_not_say_is_not_known() {
        let info = "# Server\r\nredis_version:7.2.4\r\nused_memory_human:1M\r\nused_memory:1048576\r\n\
                    maxmemory:0\r\nmaxmemory_policy:noeviction\r\nrole:master\r\nconnected_slaves:2\r\n";
        let about = About::of(info);
        assert_eq!(about.version.as_deref(), Some("7.2.4"));
        assert_eq!((about.used_memory, about.max_memory), (Some(1_048_576), Some(0)));
        assert_eq!((about.role.as_deref(), about.replicas), (Some("master"), Some(2)));
        assert_eq!(About::of("role"), About::default());
    }
}
