//! Where a client comes from, as far as limits per address go.

use std::net::IpAddr;
use std::net::Ipv6Addr;

/// An IPv4 address, or the /64 of an IPv6 address: that much is handed out to one customer, who may use any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// Where this address is. An IPv4 address that came in over IPv6 is the IPv4 address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IpAddr::V4(address)),
            IpAddr::V6(address) => {
                let [a, b, c, d, _, _, _, _] = address.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn an_ipv6_address_stands_for_its_64_and_an_ipv4_address_for_itself() {
        for (one, other, is_same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("2001:db8::1", "192.0.2.1", false),
        ] {
            let source = |address: &str| Source::of(address.parse().unwrap());
            assert_eq!(source(one) == source(other), is_same, "{one} {other}");
        }
    }
}
