//! Where fuzzing begins: inputs that are good, one set per target, made from the golden packets and by the product itself.
//!
//! Invariant: the same build always makes the same seeds. Test to read first: `seeds_are_in_the_corpora`.

use std::sync::Arc;

use disk::log::{Log, LogOptions, MemStorage};
use layer2_http::bhttp::{RequestControl, encode_request, encode_response, encode_trailers};
use layer2_http::{Envelope, Fields, RequestHead, ResponseHead};
use sidecar_config::{Template, template};
use vectors::{packets, reader};
use wire::header::Header;

use crate::log::{OWNER, SEGMENT, mend};

/// The seeds of a target, with names.
#[must_use]
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    let named = |seeds: Vec<(&str, Vec<u8>)>| seeds.into_iter().map(|(name, seed)| (name.to_owned(), seed)).collect();
    match target {
        "packet" => clear_packets().into_iter().chain(one_of("sealed-one")).collect(),
        "control" => parts(|file, header| vec![file[header.layout().control()].to_vec()]),
        "table" => parts(tables),
        "names" => named(names()),
        "config" => named(configs()),
        "fields" => named(messages()),
        "log" => named(logs()),
        _ => Vec::new(),
    }
}

/// The packets of suite 1.
fn clear_packets() -> Vec<(String, Vec<u8>)> {
    let clear = packets::all().into_iter().filter(|packet| packet.name.starts_with("checksum-"));
    clear.map(|packet| (packet.name, packet.bytes)).collect()
}

/// A committed packet: what is signed is not made anew.
fn one_of(name: &str) -> Option<(String, Vec<u8>)> {
    let path = vectors::file("packets").join(name).with_extension("hft");
    Some((name.to_owned(), std::fs::read(path).ok()?))
}

fn parts(of: impl Fn(&[u8], &Header) -> Vec<Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, file) in clear_packets() {
        let header = Header::parse(&file).unwrap();
        let parts = of(&file, &header).into_iter().enumerate();
        seeds.extend(parts.map(|(index, part)| (format!("{name}-{index}"), part)));
    }
    seeds
}

/// The table, and every entry with the bytes of its frame.
fn tables(file: &[u8], header: &Header) -> Vec<Vec<u8>> {
    let table = &file[header.layout().table()];
    let mut seeds = vec![table.to_vec()];
    let mut at = header.layout().frames_at;
    for (entry, raw) in wire::table::decode_table(table).iter().zip(table.chunks(64)) {
        let end = at + entry.stored_len as usize;
        seeds.push([raw, &file[at..end]].concat());
        at = end.next_multiple_of(8);
    }
    seeds.retain(|seed| !seed.is_empty());
    seeds
}

fn names() -> Vec<(&'static str, Vec<u8>)> {
    let name = wire::PacketName {
        recipient: reader::south_gateway(),
        sender: reader::north_gateway(),
        incarnation_random: [0x11; 8],
        pn: wire::PacketNumber::new(0x1_2345).unwrap(),
        tag: reader::NAME_TAG,
    };
    vec![
        ("file", name.file_name().into()),
        ("flat", name.flat().into()),
        ("upper", name.file_name().to_uppercase().into()),
        ("copy", name.file_name().replace(".hft", " (1).hft").into()),
        ("id", reader::north_gateway().to_string().into()),
        ("hex", reader::north_gateway().to_hex32().into()),
        ("endpoint", b"gateway".to_vec()),
        ("payload", reader::north().bundle(1, 0, 0).payload().unwrap()),
        ("token", reader::north().bundle(1, 0, 0).to_token().unwrap().into()),
    ]
}

fn configs() -> Vec<(&'static str, Vec<u8>)> {
    let small = "version: 1\nlocal: {name: north}\nremote: {name: south, keys: [hoft1AAAA]}\nidentity: {secretFile: north.key}\n\
        folders: {outbox: out, inbox: in}\nstate: {folder: state}\n";
    let more = "modes: {send: Signed, accept: [Signed, Sealed]}\nmirror: {profile: Move}\nlimits: {}\nlog: {level: debug}\n\
        outbound:\n  allow:\n    - name: erp\n      destinations: [{host: '*.south.svc', port: 443, methods: [GET], paths: [/v1/]}]\n";
    let sides = Template::new("north", "south").unwrap();
    vec![("small", small.into()), ("more", [small, more].concat().into()), ("template", template(&sides).into())]
}

fn some_fields() -> Fields {
    let mut fields = Fields::new();
    for (name, value) in [("host", "erp.example"), ("accept", "*/*"), ("x-empty", ""), ("accept", "text/html;q=0.5")] {
        fields.push(name.as_bytes().to_vec(), value.as_bytes().to_vec()).unwrap();
    }
    fields
}

fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let control = RequestControl {
        method: "GET".into(),
        scheme: "https".into(),
        authority: "erp.example".into(),
        path: "/v1/orders?open=1".into(),
    };
    let (mut request, mut response) = (vec![16], vec![16]);
    encode_request(&control, &some_fields(), &mut request);
    encode_response(200, &some_fields(), &mut response);
    let envelope = Envelope { route: Some("erp".into()), target: None, ..Envelope::default() };
    let RequestControl { method, scheme, authority, path } = control;
    let head = RequestHead { envelope: envelope.clone(), method, scheme, authority, path, fields: some_fields() };
    let answer = |status| ResponseHead { envelope: envelope.clone(), status, fields: some_fields() };
    let led = |payload: &[u8]| [&[16], payload].concat();
    vec![
        ("request", request),
        ("response", response),
        ("trailers", led(&encode_trailers(&some_fields()))),
        ("request-head", led(&head.encode().unwrap())),
        ("response-head", led(&answer(404).encode().unwrap())),
        ("interim", led(&answer(103).encode().unwrap())),
    ]
}

/// A segment with a checkpoint and entries after it, whole and cut; mended, so that salt and time of creation are none.
fn logs() -> Vec<(&'static str, Vec<u8>)> {
    let storage = MemStorage::new();
    let (mut log, _) = Log::open_on(Arc::new(storage.clone()), OWNER, LogOptions::default()).unwrap();
    for payload in [&b"one"[..], b"", b"an entry longer than twenty bytes"] {
        log.append(16, &[payload]).unwrap();
        log.commit().unwrap();
    }
    log.append(200, &[b"last"]).unwrap();
    log.commit().unwrap();
    let mut segment = storage.contents(SEGMENT).unwrap();
    segment[40..56].fill(0);
    mend(&mut segment);
    let led = |first: u8, len: usize| [&[first], &segment[..len]].concat();
    vec![
        ("whole", led(0, segment.len())),
        ("mended", led(1, segment.len())),
        ("cut", led(0, segment.len() - 9)),
        ("none", vec![0]),
    ]
}
