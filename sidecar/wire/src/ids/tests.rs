//! Tests of the identifiers.

use super::*;
use alloc::string::ToString;

#[test]
fn ids_of_north_and_south() {
    let north = side_id("", "north", "south");
    let south = side_id("", "south", "north");
    assert_eq!(north.to_string(), "9dfb5528-2866-8a42-902f-3e9908bb37be");
    assert_eq!(south.to_string(), "b35ffc1d-8c77-8c10-a81c-3e60a1e0be2c");
    assert_eq!(endpoint_id(&north, "gateway", "0").to_string(), "8ed3288c-315b-8e70-8e84-2978adad8e7d");
    assert_eq!(endpoint_id(&south, "gateway", "0").to_string(), "41afd8b9-d6e6-8eb1-8c68-9491fd4bc1d5");
    assert_eq!(north.as_address().as_bytes(), north.as_bytes());
}

#[test]
fn kind_and_name_cannot_be_shifted_into_each_other() {
    let side = side_id("", "north", "south");
    assert_ne!(endpoint_id(&side, "pod", "1"), endpoint_id(&side, "pod1", ""));
    assert_ne!(side_id("", "north", "south"), side_id("lab", "north", "south"));
}

#[test]
fn uuid_text_comes_back_in_both_forms() {
    let id = EndpointId::from_bytes(core::array::from_fn(|i| i as u8 * 17));
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(id.to_hex32().parse(), Ok(id));
    assert_eq!(id.to_hex32().to_uppercase().parse(), Ok(id));
}

#[test]
fn what_is_not_a_uuid_is_refused() {
    for text in [
        "",
        "00112233445566778899aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeef",
        "001122334-455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddee-f",
        "0011223é-4455-6677-8899-aabbccddeef",
    ] {
        assert_eq!(text.parse::<EndpointId>(), Err(NotUuid), "{text}");
    }
}

#[test]
fn an_incarnation_is_generation_then_random() {
    let life = Incarnation { generation: 0x0102, random: [9; 8] };
    assert_eq!(life.to_bytes(), [2, 1, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]);
    assert_eq!(Incarnation::from_bytes(&life.to_bytes()), life);
    assert_eq!(life.random_hex(), "0909090909090909");
    assert!(!life.is_unknown());
    assert!(Incarnation::from_bytes(&[0; 16]).is_unknown());
}

#[test]
fn packet_numbers_are_in_range_and_end() {
    assert_eq!(PacketNumber::new(0), None);
    assert_eq!(PacketNumber::new(1 << 40), None);
    assert_eq!(PacketNumber::FIRST.next(), PacketNumber::new(2));
    assert_eq!(PacketNumber::MAX.next(), None);
}

#[test]
fn streams_of_an_exchange_are_an_even_and_an_odd_one() {
    let request = StreamId::request(7);
    assert_eq!(request.get(), 14);
    assert_eq!(request.response_of(), StreamId::response(7));
    assert_eq!(StreamId::response(7).exchange(), 7);
    assert!(request.is_request() && !StreamId::response(7).is_request());
    assert_eq!(StreamId::response(StreamId::MAX_EXCHANGE).get(), STREAM_END - 1);
    assert_eq!(StreamId::new(STREAM_END), None);
}

#[test]
fn names_are_lower_case_letters_digits_and_dashes() {
    for name in ["a", "north-2", "0", &"x".repeat(63)] {
        assert!(valid_name(name), "{name}");
    }
    for name in ["", "North", "a_b", "a.b", "a b", "é", &"x".repeat(64)] {
        assert!(!valid_name(name), "{name}");
    }
}
