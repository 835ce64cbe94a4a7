//! The pickle scanner on hand-written pickles: what it lets through, what it names, and where it stops.

use ontogeny_zoo::{PickleScanError, scan_pickle};

fn forbidden(offset: usize, module: &str, name: &str) -> PickleScanError {
    PickleScanError::ForbiddenGlobal { offset, module: module.to_owned(), name: name.to_owned() }
}

#[test]
fn data_is_let_through() {
    let cases: &[(&str, &[u8])] = &[
        ("protocol 0 dictionary", b"(dp0\nS'a'\np1\nI1\nsS'b'\nF1.5\ns."),
        ("protocol 2 tuple", b"\x80\x02K\x01K\x02\x86q\x00."),
        ("protocol 4 framed", b"\x80\x04\x95\x04\0\0\0\0\0\0\0\x8c\x01a\x94."),
        ("bytes and long", b"\x80\x05C\x02ab\x8a\x01\x05\x86."),
        ("ordered dictionary", b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(X\x01\0\0\0aK\x01u."),
        ("set of protocol 4", b"\x80\x04\x8f(K\x01K\x02\x90."),
        ("pop of a mark", b"(0N."),
        ("windows line ends", b"ccollections\r\nOrderedDict\r\n."),
    ];
    for (what, bytes) in cases {
        assert_eq!(scan_pickle(bytes, 0), Ok(bytes.len()), "{what}");
    }
}

#[test]
fn the_end_is_where_stop_is() {
    assert_eq!(scan_pickle(b"xxN.garbage", 2), Ok(4));
}

#[test]
fn calls_by_any_spelling_are_refused_by_name_and_offset() {
    let system = |offset| forbidden(offset, "os", "system");
    let cases: Vec<(&str, Vec<u8>, PickleScanError)> = vec![
        ("GLOBAL", b"cos\nsystem\n(S'true'\ntR.".to_vec(), system(0)),
        ("INST", b"(S'true'\nios\nsystem\n.".to_vec(), system(9)),
        ("OBJ", b"(cos\nsystem\nS'true'\no.".to_vec(), system(1)),
        ("STACK_GLOBAL", b"\x80\x04\x8c\x02os\x8c\x06system\x93.".to_vec(), system(14)),
        // The module name is memoised, dropped, and fetched again.
        ("MEMOIZE", b"\x80\x04\x8c\x02os\x940h\x00\x8c\x06system\x93.".to_vec(), system(18)),
        ("BINPUT", b"\x80\x04\x8c\x02osq\x070h\x07\x8c\x06system\x93.".to_vec(), system(19)),
        ("LONG_BINPUT", b"\x80\x04\x8c\x02osr\x07\0\0\x000j\x07\0\0\0\x8c\x06system\x93.".to_vec(), system(25)),
        ("PUT", b"S'os'\np5\n0g5\nS'system'\n\x93.".to_vec(), system(23)),
        ("DUP", b"S'os'\n2\x93.".to_vec(), forbidden(7, "os", "os")),
        ("UNICODE", b"Vos\nVsystem\n\x93.".to_vec(), system(12)),
        ("dotted", b"\x8c\x05torch\x8c\x0fSize.__reduce__\x93.".to_vec(), forbidden(24, "torch", "Size.__reduce__")),
        ("getattr", b"cbuiltins\ngetattr\n.".to_vec(), forbidden(0, "builtins", "getattr")),
        ("eval", b"c__builtin__\neval\n.".to_vec(), forbidden(0, "__builtin__", "eval")),
        (
            "nested pickle",
            b"ctorch.storage\n_load_from_bytes\n.".to_vec(),
            forbidden(0, "torch.storage", "_load_from_bytes"),
        ),
        ("whole module", b"c__main__\nNet\n.".to_vec(), forbidden(0, "__main__", "Net")),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(scan_pickle(&bytes, 0), Err(expected), "{what}");
    }
}

#[test]
fn names_that_cannot_be_told_are_refused() {
    let cases: &[(&str, &[u8], usize)] = &[
        ("a number", b"K\x01\x8c\x06system\x93.", 10),
        ("bytes", b"C\x02os\x8c\x06system\x93.", 12),
        ("an escape", b"S'o\\x73'\nS'system'\n\x93.", 19),
        ("a computed string", b"c_codecs\nencode\nS'os'\n\x85R\x8c\x06system\x93.", 32),
    ];
    for (what, bytes, offset) in cases {
        assert_eq!(scan_pickle(bytes, 0), Err(PickleScanError::UnresolvedGlobal { offset: *offset }), "{what}");
    }
}

#[test]
fn pickles_that_end_early_or_hold_no_opcode_say_where() {
    use PickleScanError::{Extension, Truncated, UnknownOpcode};
    let cases: &[(&str, &[u8], PickleScanError)] = &[
        ("empty", b"", Truncated { offset: 0, end: 0 }),
        ("no stop", b"N", Truncated { offset: 1, end: 1 }),
        ("string of 4 GiB", b"X\xff\xff\xff\xffab", Truncated { offset: 0, end: 7 }),
        ("string of 2^64", b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab", Truncated { offset: 0, end: 11 }),
        ("line without end", b"cos", Truncated { offset: 0, end: 3 }),
        ("no opcode", b"N\xff.", UnknownOpcode { offset: 1, opcode: 0xff }),
        ("out-of-band buffer", b"\x97.", UnknownOpcode { offset: 0, opcode: 0x97 }),
        ("extension", b"\x82\x07.", Extension { offset: 0, code: 7 }),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(scan_pickle(bytes, 0).as_ref(), Err(expected), "{what}");
    }
}

#[test]
fn malformed_pickles_are_errors_with_their_offset() {
    // More stack, marks and memo than the scanner follows, so that its memory stays bounded.
    let deep = vec![b'N'; (1 << 20) + 1];
    let marks = vec![b'('; (1 << 20) + 1];
    let memo = [vec![b'N'], vec![0x94; (1 << 21) + 1]].concat();
    let cases: &[(&str, &[u8], usize)] = &[
        ("missing operand", b"N\x86.", 1),
        ("operand below a mark", b"N(\x85.", 2),
        ("missing mark", b"Nt.", 1),
        ("missing memo", b"h\x01.", 0),
        ("memo index", b"gx\n.", 0),
        ("stop on nothing", b".", 0),
        ("left over", b"NN.", 2),
        ("odd dictionary", b"(Nd.", 2),
        ("protocol", b"\x80\x06N.", 0),
        ("quotes", b"Sos\n.", 0),
        ("a stack without end", &deep, 1 << 20),
        ("marks without end", &marks, 1 << 20),
        ("a memo without end", &memo, (1 << 21) + 1),
    ];
    for &(what, bytes, at) in cases {
        let error = scan_pickle(bytes, 0).expect_err(what);
        assert!(matches!(error, PickleScanError::Malformed { offset, .. } if offset == at), "{what}: {error:?}");
    }
}

#[test]
fn a_start_beyond_the_bytes_is_an_error() {
    assert_eq!(scan_pickle(b"N.", 9), Err(PickleScanError::Truncated { offset: 9, end: 2 }));
}

#[test]
fn hostile_names_are_shortened_and_escaped() {
    let bytes = [b"c".as_slice(), &[b'a'; 5000], b"\n\x1b[31m\n."].concat();
    let error = scan_pickle(&bytes, 0).expect_err("not allowed").to_string();
    assert!(error.len() < 400 && !error.contains('\x1b'), "{error}");
}
