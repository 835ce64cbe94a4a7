"""Writes the hostile files beside it: python make_hostile.py (needs nothing but Python). Nothing in them is harmful if run."""

import gzip
import io
import pathlib
import struct
import zipfile
import zlib

HERE = pathlib.Path(__file__).parent
PICKLE = "archive/data.pkl"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI4\ntQI%d\n(I%d\nt(I%d\ntI00\n(dtR"


def write(name, content):
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def safetensors(header, data=b"", length=None):
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(name, dtype="F32", shape="[1]", offsets="[0,4]"):
    return f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


def npy(descr="'<f4'", order="False", shape="(1,)", data=bytes(4), version=1):
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    width = "<H" if version == 1 else "<I"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(width, len(header)) + header + data


def archive(entries, compressed=()):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", compresslevel=9) as out:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)  # of 1980: the same bytes each time
            info.compress_type = zipfile.ZIP_DEFLATED if name in compressed else zipfile.ZIP_STORED
            out.writestr(info, content)
    return memory.getvalue()


def torch_zip(pickle, storage=bytes(16), compressed=()):
    entries = {"archive/data.pkl": pickle, "archive/byteorder": "little", "archive/data/0": storage}
    return archive(entries, compressed)


def dictionary(value):
    return b"(dVweight\n" + value + b"s."


def weights():
    whole = safetensors("{" + entry("w", shape="[2]", offsets="[0,8]") + "}", bytes(8))
    write("weights/header_cut.safetensors", whole[:30])
    write("weights/data_cut.safetensors", whole[:-3])
    write("weights/header_of_2_63.safetensors", safetensors("{}", length=2**63))
    two = lambda second: "{" + entry("a", shape="[2]", offsets="[0,8]") + "," + second + "}"
    write("weights/overlapping.safetensors", safetensors(two(entry("b", offsets="[4,8]")), bytes(8)))
    write("weights/beyond_the_end.safetensors", safetensors(two(entry("b", offsets="[8,12]")), bytes(8)))
    write("weights/shape_overflows.safetensors", safetensors("{" + entry("w", shape="[4294967296,4294967296,4]") + "}", bytes(4)))
    write("weights/shape_of_2_40.safetensors", safetensors("{" + entry("w", shape="[1099511627776]", offsets="[0,4398046511104]") + "}", bytes(4)))
    write("weights/same_name_twice.safetensors", safetensors("{" + entry("w") + "," + entry("w") + "}", bytes(4)))
    nan = struct.pack("<4f", 1.0, float("nan"), float("inf"), -1.0)
    write("weights/nan.safetensors", safetensors("{" + entry("w", shape="[2,2]", offsets="[0,16]") + "}", nan))
    write("weights/unknown_type.safetensors", safetensors("{" + entry("w", dtype="F33") + "}", bytes(4)))
    write("weights/not_utf8.safetensors", safetensors(b'{"w\xff\xfe":1}'))
    write("weights/deep_json.safetensors", safetensors('{"w":' + "[" * 20000))
    write("weights/huge_number.safetensors", safetensors("{" + entry("w", shape="[1e999]") + "}", bytes(4)))
    write("weights/control_characters.safetensors", safetensors("{" + entry("\\u001b[2J\\u001b]0;owned\\u0007\\nerror: w") + "}", bytes(4)))
    write("weights/control_characters_damaged.safetensors", safetensors("{" + entry("\\u001b[2J\\u0007") + "}", bytes(3)))
    write("weights/empty.pt", b"")
    write("weights/text.pt", "step,loss\n1,2.0\n")

    call = b"cposix\nsystem\n(Vtrue\ntR"
    write("weights/os_system.pt", torch_zip(dictionary(call)))
    write("weights/os_system_by_stack.pt", torch_zip(b"\x80\x04}\x8c\x01w\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85Rs."))
    write("weights/os_system_by_inst.pt", torch_zip(dictionary(b"(Vtrue\niposix\nsystem\n")))
    write("weights/extension_code.pt", torch_zip(b"\x80\x02}Vw\n\x82\x01)Rs."))
    nested = b"ccollections\nOrderedDict\n" * 5000 + b")R" + b"\x85R" * 4999
    write("weights/nested_reduce.pt", torch_zip(dictionary(nested), compressed=(PICKLE,)))
    # Thirty lists, each of ten references to the one before: 10^30 items if they are copied.
    lists = b"(lp0\n" + b"".join(b"(" + b"g%d\n" % n * 10 + b"lp%d\n" % (n + 1) for n in range(30))
    write("weights/memo_bomb.pt", torch_zip(b"(" + lists + b"t.", compressed=(PICKLE,)))
    write("weights/deep_nesting.pt", torch_zip(b"\x80\x02" + b"]" * 200000 + b"a" * 199999 + b".", compressed=(PICKLE,)))
    write("weights/deep_tuple.pt", torch_zip(b"\x80\x02N" + b"\x85" * 1000000 + b".", compressed=(PICKLE,)))
    write("weights/huge_long4.pt", torch_zip(b"\x80\x02\x8b\xff\xff\xff\x7f\x01."))
    write("weights/huge_unicode8.pt", torch_zip(b"\x80\x04\x8d" + b"\xff" * 8 + b"a."))
    write("weights/storage_missing.pt", archive({"archive/data.pkl": dictionary(TENSOR % (0, 4, 1))}))
    write("weights/offset_beyond_storage.pt", torch_zip(dictionary(TENSOR % (3, 4, 1))))
    write("weights/negative_size.pt", torch_zip(dictionary(TENSOR % (0, -4, 1))))
    write("weights/expanded_to_8_gib.pt", torch_zip(dictionary(TENSOR % (0, 2**31, 0))))
    good = torch_zip(dictionary(TENSOR % (0, 4, 1)))
    write("weights/truncated.pt", good[: len(good) // 2])
    write("weights/flipped_byte.pt", flipped(good, good.index(bytes(16)) + 5))
    write("weights/two_archives.pt", good + good)
    write("weights/paths_that_climb.pt", archive({"../../../../tmp/data.pkl": dictionary(TENSOR % (0, 4, 1)), "../../../../tmp/data/0": bytes(16), "/etc/passwd": b"x"}))
    write("weights/bomb_claim.pt", lying_size(good, bytes(16), 2**31 - 1))
    # A compressed storage of 60 MiB and 3000 one-value tensors at its end: to read them one by one unpacks 180 GB.
    many = b"".join(
        b"V%d\n" % n + (TENSOR % (15728639, 1, 1)).replace(b"I4\n", b"I15728640\n", 1) + b"s" for n in range(3000)
    )
    write("weights/many_views_of_a_bomb.pt", torch_zip(b"(d" + many + b".", bytes(60 << 20), (PICKLE, "archive/data/0")))
    legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00X\x0d\x00\x00\x00little_endianq\x01\x88s."
    write("weights/legacy_storage_cut.pt", legacy + dictionary(TENSOR % (0, 4, 1)) + b"(lV0\na." + struct.pack("<q", 4) + bytes(15))
    write("weights/legacy_count_lies.pt", legacy + dictionary(TENSOR % (0, 4, 1)) + b"(lV0\na." + struct.pack("<q", -1) + bytes(16))
    write("weights/legacy_eval.pt", legacy + b"cbuiltins\neval\n(V1\ntR.")
    write("weights/tar.pt", bytes(257) + b"ustar" + bytes(250))

    write("weights/shape_of_2_40.npy", npy(shape="(1099511627776,)"))
    write("weights/shape_overflows.npy", npy(shape="(4294967296, 4294967296, 4294967296)"))
    write("weights/negative.npy", npy(shape="(-1,)"))
    write("weights/objects.npy", npy(descr="'|O'", data=b"cposix\nsystem\n(Vtrue\ntR."))
    write("weights/fortran_maybe.npy", npy(order="Maybe"))
    write("weights/fortran_too_short.npy", npy(order="True", shape="(2, 3)", data=bytes(20)))
    write("weights/truncated.npy", npy(shape="(3,)", data=bytes(11)))
    write("weights/version_9.npy", npy(version=9))
    write("weights/header_of_4_gib.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}")
    write("weights/many_axes.npy", npy(shape="(" + "1," * 20000 + ")"))
    # Turned into row-major order one value at a time, each step through every axis.
    axes = npy(order="True", shape="(16777000," + "1," * 20000 + ")", data=bytes(67108000))
    write("weights/many_axes.npz", archive({"a.npy": axes}, ("a.npy",)))
    # 67 kB that decode to half a gigabyte.
    write("weights/many_small_values.npz", archive({"a.npy": npy("'|u1'", "False", "(67000000,)", bytes(67000000))}, ("a.npy",)))
    write("weights/u64_beyond_i64.npy", npy(descr="'<u8'", data=b"\xff" * 8))
    sound = npy()
    write("weights/paths_that_climb.npz", archive({"../../../../tmp/a.npy": sound, "/etc/b.npy": sound}))
    write("weights/zip64_lies.npz", zip64_lies(archive({"a.npy": sound})))
    write("weights/entry_claims_1_gib.npz", lying_size(archive({"a.npy": sound}), sound, 1 << 30))
    write("weights/unknown_method.npz", patched(archive({"a.npy": sound}), 8, 10, struct.pack("<H", 77)))
    write("weights/encrypted.npz", patched(archive({"a.npy": sound}), 6, 8, struct.pack("<H", 1)))
    write("weights/truncated.npz", archive({"a.npy": sound})[:-30])
    write("weights/wrong_checksum.npz", patched(archive({"a.npy": sound}), 14, 16, struct.pack("<I", 1)))
    # The header claims 64 MiB of zeros and the entry compresses to them.
    zeros = npy(shape="(16777217,)", data=bytes((64 << 20) + 4))
    write("weights/bomb.npz", archive({"a.npy": zeros}, ("a.npy",)))


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


def patched(content, local_at, central_at, value):
    """The archive with `value` in its first local header and its first directory entry."""
    content = bytearray(content)
    central = content.index(b"PK\x01\x02")
    content[local_at : local_at + len(value)] = value
    content[central + central_at : central + central_at + len(value)] = value
    return bytes(content)


def lying_size(content, stored, claimed):
    """The archive with `claimed` for the unpacked length of the entry that stores `stored`."""
    checksum = struct.pack("<I", zlib.crc32(stored))
    content = bytearray(content)
    for magic, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        at = content.index(magic)
        while content[at + offset : at + offset + 4] != checksum:
            at = content.index(magic, at + 4)
        content[at + offset + 8 : at + offset + 12] = struct.pack("<I", claimed)
    return bytes(content)


def zip64_lies(content):
    """The archive with zip64 end records that put the directory at 2^60."""
    at = content.index(b"PK\x05\x06")
    size, offset = struct.unpack("<II", content[at + 12 : at + 20])
    end = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, 2**60)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:at] + end + locator + tail


RUN = """title = "Hostile"
seed = 3

[task]
kind = "modular_arithmetic"
p = 7
operation = "add"
train_fraction = 0.6

[network]
kind = "transformer"
layers = 1
d_model = 8
heads = 2
d_mlp = 16
activation = "relu"
normalization = "none"
positions = "learned"

[train]
optimizer = "adamw"
learning_rate = 1e-2
weight_decay = 0.1
batch = "full"
steps = 40
checkpoints = { log = 5, linear = 4 }

[measure.loss]

[measure.llc]
sampler = "sgld"
chains = 2
burn_in = 20
draws = 100
step_size = 1e-3
localization = 1000.0
"""


def changed(old, new):
    assert RUN.count(old) == 1, old
    return RUN.replace(old, new)


def runs():
    for name, old, new in [
        ("unknown_key", "seed = 3", "seed = 3\nsede = 4"),
        ("text_for_a_number", "p = 7", 'p = "seven"'),
        ("number_for_a_table", "[measure.loss]", "[measure]\nloss = 3"),
        ("table_for_a_number", "steps = 40", "steps = { n = 40 }"),
        ("nan_learning_rate", "learning_rate = 1e-2", "learning_rate = nan"),
        ("infinite_decay", "weight_decay = 0.1", "weight_decay = inf"),
        ("infinite_step_size", "step_size = 1e-3", "step_size = inf"),
        ("nan_localization", "localization = 1000.0", "localization = nan"),
        ("nan_fraction", "train_fraction = 0.6", "train_fraction = nan"),
        ("float_beyond_f64", "learning_rate = 1e-2", "learning_rate = 1e999"),
        ("steps_of_2_70", "steps = 40", "steps = 1180591620717411303424"),
        ("steps_of_2_63", "steps = 40", "steps = 9223372036854775807"),
        ("negative_steps", "steps = 40", "steps = -40"),
        ("seed_of_2_32", "seed = 3", "seed = 4294967296"),
        ("billion_checkpoints", "log = 5", "log = 1000000000"),
        ("modulus_of_2_40", "p = 7", "p = 1099511627776"),
        ("width_of_2_40", "d_model = 8", "d_model = 1099511627776"),
        ("width_of_2_18", "d_model = 8", "d_model = 262144"),
        ("mlp_of_2_63", "d_mlp = 16", "d_mlp = 9223372036854775807"),
        ("billion_layers", "layers = 1", "layers = 1000000000"),
        ("heads_of_0", "heads = 2", "heads = 0"),
        ("batch_of_0", 'batch = "full"', "batch = 0"),
        ("chains_of_2_40", "chains = 2", "chains = 1099511627776"),
        ("thin_of_2_63", "draws = 100", "draws = 100\nthin = 9223372036854775807"),
        ("burn_in_of_2_63", "burn_in = 20", "burn_in = 9223372036854775807"),
        ("duplicate_key", "seed = 3", "seed = 3\nseed = 3"),
        ("duplicate_table", "[measure.loss]", "[measure.loss]\n[measure.loss]"),
        ("deep_array", "seed = 3", "seed = " + "[" * 5000 + "]" * 5000),
        ("deep_key", "[measure.loss]", "[measure" + ".a" * 5000 + "]"),
        ("deep_inline_table", "seed = 3", "seed = " + "{a=" * 5000 + "1" + "}" * 5000),
        ("path_as_a_name", "[measure.loss]", '[measure."../../escape"]\nobservable = "loss"'),
        ("control_characters", 'kind = "transformer"', 'kind = "\\u001b[2Jtransformer"'),
        ("import_of_nan", RUN[RUN.index("[train]") :], '[import]\ncheckpoints = "../weights/nan.safetensors"\nstep = 1\n'),
        ("import_of_a_call", RUN[RUN.index("[train]") :], '[import]\ncheckpoints = "../weights/os_system.pt"\nstep = 1\n'),
        ("pattern_unclosed", RUN[RUN.index("[train]") :], '[import]\ncheckpoints = "../weights/*.pt"\nstep = "(((("\n'),
        ("indices_of_a_bomb", "train_fraction = 0.6", 'train_indices = "../weights/bomb.npz"'),
        ("indices_of_many", "train_fraction = 0.6", 'train_indices = "../weights/many_small_values.npz"'),
        ("indices_of_objects", "train_fraction = 0.6", 'train_indices = "../weights/objects.npy"'),
        ("indices_of_nan", "train_fraction = 0.6", 'train_indices = "../weights/nan.safetensors"'),
    ]:
        write(f"runs/{name}.toml", changed(old, new))
    write("runs/not_utf8.toml", RUN.encode().replace(b"Hostile", b"\xff\xfe"))
    write("runs/byte_order_mark.toml", b"\xef\xbb\xbf" + RUN.encode())
    write("runs/utf16.toml", RUN.encode("utf-16"))
    write("runs/nul.toml", RUN.replace("Hostile", "\0"))
    write("runs/empty.toml", "")
    write("runs/unclosed.toml", RUN + 'title2 = "')


def series():
    rows = lambda line, n=30: "".join(line(i) for i in range(n))
    plain = "step,loss\n" + rows(lambda i: f"{10 * i},{1 / (i + 1)}\n")
    write("series/ragged.csv", plain + "310,1,2\n")
    write("series/all_nan.csv", "step,loss\n" + rows(lambda i: f"{i},nan\n"))
    write("series/step_twice.csv", plain + "290,1\n")
    write("series/unsorted.csv", "step,loss\n" + rows(lambda i: f"{(7 * i) % 30},{i}\n"))
    write("series/huge_numbers.csv", "step,loss\n" + rows(lambda i: f"{10**i},{(-1) ** i * 1.7e308}\n", 60))
    write("series/beyond_f64.csv", "step,loss\n" + rows(lambda i: f"{i},1e999\n"))
    write("series/negative_steps.csv", "step,loss\n" + rows(lambda i: f"{-i},{i}\n"))
    write("series/tiny_numbers.csv", "step,loss\n" + rows(lambda i: f"{i},{5e-324 if i < 15 else 1e-323}\n"))
    write("series/constant.csv", "step,loss\n" + rows(lambda i: f"{i},1\n"))
    write("series/empty.csv", "")
    write("series/blank.csv", " \n\n\t\n")
    write("series/header_only.csv", "step,loss\n")
    write("series/junk.csv", bytes((i * i * 31 + 7) % 256 for i in range(1000)))
    write("series/nul_bytes.csv", plain.replace("loss", "lo\0ss"))
    write("series/control_characters.csv", plain.replace("loss", "\x1b[2Jloss\x07"))
    write("series/unclosed_quote.csv", 'step,"loss\n' + rows(lambda i: f"{i},1\n"))
    write("series/same_name_twice.csv", "step,loss,loss\n" + rows(lambda i: f"{i},1,2\n"))
    write("series/negative_errors.csv", "step,loss,loss_se\n" + rows(lambda i: f"{i},1,-1\n"))
    write("series/utf16.csv", plain.encode("utf-16"))
    write("series/text_only.csv", "step,loss\n" + rows(lambda i: f"{i},high\n"))
    write("series/ragged.json", '{"a":[[1,2],[3]]}')
    write("series/deep.json", "[" * 20000)
    write("series/single_value.json", "7")
    write("series/cut.json", '{"a":[1,2')
    write("series/dotted_twice.json", '{"b.c":[1],"b":{"c":[1]}}')
    write("series/mixed.json", '[{"step":1},2]')
    write("series/huge_numbers.json", '{"a":[' + ",".join(["1e308", "-1e308"] * 15) + "]}")
    write("series/beyond_f64.json", '{"a":[1e999]}')
    write("series/broken_line.jsonl", rows(lambda i: f'{{"step":{i},"a":1}}\n') + '{"step":\n{"step":40}\n')
    packed = gzip.compress(plain.encode(), mtime=0)
    write("series/cut.csv.gz", packed[:-12])
    write("series/shape_of_2_40.npy", npy(shape="(1099511627776,)"))
    write("series/objects.npy", npy(descr="'|O'"))


if __name__ == "__main__":
    weights()
    runs()
    series()
