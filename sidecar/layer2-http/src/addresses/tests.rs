//! Tests of `addresses`.

use super::*;
use proptest::prelude::*;

fn denied(ip: &str) -> Option<&'static str> {
    address_allowed(ip.parse().unwrap(), &[]).err().map(|denied| denied.class)
}

fn allowed(ip: &str, nets: &[&str]) -> bool {
    let nets: Vec<IpNet> = nets.iter().map(|net| net.parse().unwrap()).collect();
    address_allowed(ip.parse().unwrap(), &nets).is_ok()
}

#[test]
fn every_special_address_is_denied() {
    let table = [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "\"this network\""),
        ("10.0.0.1", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.1", "shared (carrier NAT)"),
        ("100.127.255.255", "shared (carrier NAT)"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.0.1", "link-local"),
        ("169.254.169.254", "cloud metadata"),
        ("169.254.170.2", "cloud metadata"),
        ("169.254.170.23", "cloud metadata"),
        ("169.254.0.23", "cloud metadata"),
        ("169.254.42.42", "cloud metadata"),
        ("fd00:42::42", "cloud metadata"),
        ("100.100.100.200", "cloud metadata"),
        ("168.63.129.16", "cloud metadata"),
        ("192.0.0.192", "cloud metadata"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.8", "protocol assignment"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4 relay"),
        ("192.168.1.1", "private"),
        ("198.18.0.1", "benchmarking"),
        ("198.19.255.255", "benchmarking"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::7f00:1", "IPv4-compatible"),
        ("64:ff9b::808:808", "NAT64"),
        ("64:ff9b:1::1", "local NAT64"),
        ("100::1", "discard"),
        ("2001::1", "Teredo"),
        ("2001:2::1", "benchmarking"),
        ("2001:10::1", "protocol assignment"),
        ("2001:20::1", "protocol assignment"),
        ("2001:1ff:ffff::1", "protocol assignment"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::1", "6to4"),
        ("3fff::1", "documentation"),
        ("5f00::1", "segment routing"),
        ("fc00::1", "unique local"),
        ("fd12:3456::1", "unique local"),
        ("fd00:ec2::254", "cloud metadata"),
        ("fd00:ec2::23", "cloud metadata"),
        ("fd20:ce::254", "cloud metadata"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("4000::1", "reserved"),
        ("1000::1", "reserved"),
        ("e000::1", "reserved"),
    ];
    for (ip, class) in table {
        assert_eq!(denied(ip), Some(class), "{ip}");
    }
}

#[test]
fn a_mapped_address_is_judged_by_the_address_inside() {
    assert_eq!(denied("::ffff:127.0.0.1"), Some("loopback"));
    assert_eq!(denied("::ffff:169.254.169.254"), Some("cloud metadata"));
    assert_eq!(denied("::ffff:10.1.2.3"), Some("private"));
    assert_eq!(denied("::ffff:8.8.8.8"), None);
    assert!(allowed("::ffff:10.1.2.3", &["10.0.0.0/8"]));
    assert!(allowed("::ffff:10.1.2.3", &["::ffff:10.0.0.0/104"]));
    assert!(!allowed("::ffff:10.1.2.3", &["11.0.0.0/8"]));
}

#[test]
fn global_unicast_passes_and_so_do_the_neighbours_of_special_networks() {
    for ip in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:db7::1",
        "2001:db9::1",
        "2003::1",
        "2606:4700::1111",
        "2a00:1450::1",
        "3ffe::1",
    ] {
        assert_eq!(denied(ip), None, "{ip}");
    }
}

#[test]
fn a_listed_network_lets_its_addresses_in_and_no_others() {
    assert!(allowed("127.0.0.1", &["127.0.0.0/8"]));
    assert!(allowed("fd12::1", &["fd12::/16"]));
    assert!(!allowed("10.0.0.1", &["127.0.0.0/8", "192.168.0.0/16"]));
    assert!(!allowed("::1", &["127.0.0.0/8"]));
    assert!(allowed("8.8.8.8", &["127.0.0.0/8"]), "a listing only adds");
}

#[test]
fn cloud_metadata_needs_a_listing_of_its_own() {
    for (ip, wide) in
        [("169.254.169.254", "0.0.0.0/0"), ("169.254.169.254", "169.254.0.0/16"), ("fd00:ec2::254", "::/0")]
    {
        assert!(!allowed(ip, &[wide]), "{ip} by {wide}");
    }
    assert!(allowed("169.254.169.254", &["169.254.169.254/32"]));
    assert!(allowed("fd00:ec2::254", &["fd00:ec2::254/128"]));
    assert!(allowed("169.254.1.1", &["169.254.0.0/16"]));
}

#[test]
fn a_nat64_address_needs_its_inner_address_to_pass_too() {
    let prefix = "64:ff9b::/96";
    assert!(allowed("64:ff9b::8.8.8.8", &[prefix]));
    assert!(!allowed("64:ff9b::10.0.0.1", &[prefix]));
    assert!(!allowed("64:ff9b::169.254.169.254", &[prefix, "169.254.0.0/16"]));
    assert!(allowed("64:ff9b::10.0.0.1", &[prefix, "10.0.0.0/8"]));
}

#[test]
fn every_tunnel_needs_its_inner_address_to_pass_too() {
    for (prefix, private, global) in [
        ("64:ff9b:1::/48", "64:ff9b:1::10.0.0.1", "64:ff9b:1::8.8.8.8"),
        ("2002::/16", "2002:a00:1::1", "2002:808:808::1"),
        ("2001::/32", "2001::f5ff:fffe", "2001::f7f7:f7f7"),
        ("::/96", "::10.0.0.1", "::8.8.8.8"),
    ] {
        assert!(!allowed(private, &[prefix]), "{private}");
        assert!(allowed(private, &[prefix, "10.0.0.0/8"]), "{private}");
        assert!(allowed(global, &[prefix]), "{global}");
    }
}

#[test]
fn the_message_names_address_and_kind() {
    let error = address_allowed("127.0.0.1".parse().unwrap(), &[]).unwrap_err();
    assert_eq!(error.to_string(), "127.0.0.1 is a loopback address, which the rule does not list");
    assert_eq!(
        error.to_problem().proxy_status_field("south").split("; details").next(),
        Some("south; error=destination_ip_prohibited")
    );
}

proptest! {
    #[test]
    fn mapping_never_changes_the_judgement(bits: u32) {
        let v4 = Ipv4Addr::from(bits);
        prop_assert_eq!(special_class(v4.into()), special_class(v4.to_ipv6_mapped().into()));
    }

    #[test]
    fn what_std_calls_special_is_special(bits: u32) {
        let ip = Ipv4Addr::from(bits);
        if ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_documentation() {
            prop_assert!(special_class(ip.into()).is_some());
        }
    }
}
