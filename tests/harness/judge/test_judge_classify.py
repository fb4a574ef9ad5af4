# SPDX-License-Identifier: Apache-2.0
"""Texts of real emulators beyond the samples; where not said otherwise measured on Debian's builds."""

from __future__ import annotations

import pytest

from migmatrix.harness.judge import classify, signature, tells_place
from migmatrix.harness.judge.text import clean
from migmatrix.harness.model import Cause

P = "qemu-system-x86_64: "
_AER = "get_pci_config_device: Bad config data: i=0x10a read: 40 device: 0 cmask: ff wmask: 0 w1cmask:0"
_PORT = "0000:00:01.0/pcie-root-port"
_DEPRECATED = (
    "warning: Machine type 'pc-q35-7.2' is deprecated: machines more than 3 years old are subject to deletion"
    " after 6 years"
)
# 10.0.13 with -global pcie-root-port.x-pcie-err-unc-mask=on to 7.2.22 and to 11.1.3, -M pc-q35-7.2
AER_ON_7_2 = f"""{P}{_AER}
{P}Failed to load PCIDevice:config
{P}Failed to load pcie-root-port:parent_obj.parent_obj.parent_obj
{P}error while loading state for instance 0x0 of device '{_PORT}'
{P}load of migration failed: Invalid argument
"""
AER_ON_11_1 = f"""{P}{_DEPRECATED}
{P}{_AER}
{P}load of migration failed: Invalid argument: error while loading state for instance 0x0 of device \
'{_PORT}': Failed to load element of type pci config for config
"""
# virtio-mem-pci, 7.2.22 and 11.1.3 each to the other
_BLOCK = "Property 'block-size' changed from 0x100000 to 0x200000"
MEM_ON_7_2 = f"""{P}-device virtio-mem-pci,memdev=m,id=vm0: warning: Could not detect THP size, falling back to 2  MiB.
{P}{_BLOCK}
{P}Failed to load virtio-mem-device:tmp
{P}Failed to load virtio-mem:virtio
{P}error while loading state for instance 0x0 of device '0000:00:01.0/virtio-mem'
{P}load of migration failed: Invalid argument
"""
MEM_ON_11_1 = f"""{P}{_BLOCK}
{P}post load hook failed for: virtio-mem-device/sanity-checks, version_id: 0, minimum_version: 0, ret: -22
{P}load of migration failed: Invalid argument: error while loading state for instance 0x0 of device \
'0000:00:01.0/virtio-mem': Failed to load element of type virtio for virtio
"""


def test_the_aer_case_is_one_problem_on_7_2_and_11_1() -> None:
    old = classify(AER_ON_7_2, version="7.2.22", exit=1)
    new = classify(AER_ON_11_1, version="11.1.3", exit=1)
    assert old == new == Cause("pci-config", _PORT, "0x10a", _AER)
    assert signature(old) == "pci-config pcie-root-port 0x10a"


def test_a_changed_property_is_one_problem_on_7_2_and_11_1() -> None:
    old, new = classify(MEM_ON_7_2, version="7.2.22"), classify(MEM_ON_11_1, version="11.1.3")
    assert old == new == Cause("device-property", "0000:00:01.0/virtio-mem", "block-size", _BLOCK)


_SOURCE_ON_A_FULL_DISK = f"""cat: write error: No space left on device
{P}failed to save SaveStateEntry with id(name): 2(ram): -5
{P}Unable to write to command: Broken pipe
"""
_FEATURES = "Features 0x1c0010130afffa7 unsupported. Allowed features: 0x10179bfffe7"
_HALVES = (
    "Features 0x000000000000000001c0010130afffa7 unsupported."
    " Allowed features: 0x0000000000000000000010179bfffe7f"
)


@pytest.mark.parametrize(
    ("stderr", "detail", "version", "expected"),
    [
        (_SOURCE_ON_A_FULL_DISK, "Unable to write to command: Broken pipe", "7.2.22", "disk-full"),
        (
            "",
            "Postcopy is not supported: Userfaultfd not available: Operation not permitted",
            "11.1.3",
            "userfaultfd",
        ),
        (
            "postcopy_ram_supported_by_host: userfaultfd not available: Operation not permitted\n",
            "Postcopy is not supported",
            "7.2.22",
            "userfaultfd",
        ),
        (
            f"{P}-qmp unix:/w/j7/qmp: Failed to connect to '/w/j7/qmp': Connection refused\n",
            "",
            "7.2.22",
            "infrastructure",
        ),
        (
            f"{P}-qmp unix:/w/j7/qmp: Failed to connect to '/w/j7/qmp': No such file or directory\n",
            "",
            "5.2.0",
            "infrastructure",
        ),
        ("", "Failed to connect to '/w/j7/migration': Connection refused", "7.2.22", "channel"),
        ("", "Sibling indicated error 1", "10.0.13", "channel"),
        (f"{P}Failed to peek at channel\n", "", "10.0.13", "channel"),
        (
            "",
            "Background-snapshot is not supported by host kernel",
            "7.2.22",
            "kernel-lacks Background-snapshot",
        ),
        ("", "Zero copy send feature not detected in host kernel", "10.0.13", "kernel-lacks Zero copy"),
        (
            "",
            "dirty-limit conflicts with auto-converge either of then available currently",
            "10.0.13",
            "mode-refused dirty-limit",
        ),
        ("", "Unable to read from socket: Connection reset by peer", "10.0.13", "channel"),
        ("", "Failed to connect to '127.0.0.1:1': Connection refused", "11.1.3", "channel"),
        ("", "Invalid parameter 'no-such-cap'", "5.2.0", "mode-unknown no-such-cap"),
        (f"{P}-spice foo: Invalid parameter 'foo'", "", "5.2.0", "unknown-option foo"),
        (
            f"{P}State blocked by non-migratable device '0000:00:05.0/nvme'\n{P}load of migration failed: Invalid argument",
            "",
            "10.0.13",
            "blocked nvme",
        ),
        (
            (
                f"{P}-device e1000,foo: warning: short-form boolean option 'foo' deprecated\nPlease use foo=on instead\n"
                f"{P}-device e1000,foo: Property 'e1000.foo' not found"
            ),
            "",
            "10.0.13",
            "unknown-property e1000 foo",
        ),
        (
            "",
            "Migration is disabled when using feature 'peer mode' in device 'ivshmem'",
            "7.2.22",
            "blocked ivshmem peer mode",
        ),
        ("", "Migration is not supported for CMB", "11.1.3", "blocked nvme CMB"),
        ("", "Migration is not supported for SR-IOV", "11.1.3", "blocked nvme SR-IOV"),
        (
            f"{P}-device vhost-scsi-pci,id=a: vhost-scsi: missing wwpn",
            "",
            "10.0.13",
            "bad-option vhost-scsi-pci -device",
        ),
        (f"{P}CPU model 'host' requires KVM or HVF", "", "11.1.3", "no-accelerator host kvm"),
        (
            "qemu: could not open kernel file '/nope': No such file or directory",
            "",
            "5.2.0",
            "missing-file /nope",
        ),
        (
            (
                f"{P}-spice foo: There is no option group 'spice'\n"
                f"{P}-spice foo: Perhaps you want to install qemu-system-modules-spice package?"
            ),
            "",
            "10.0.13",
            "unknown-option spice",
        ),
        ("qemu: could not load PC BIOS 'nosuch'\n", "", "5.2.0", "missing-file nosuch"),
        (f"{P}cannot set up guest memory 'pc.ram': Cannot allocate memory", "", "7.2.22", "out-of-memory"),
        (
            "",
            "The vvfat (rw) format used by node '#block12' does not support live migration",
            "7.2.22",
            "blocked vvfat (rw) format",
        ),
        # the catalogue's
        (
            (
                f"{P}{_FEATURES}\n{P}Failed to load virtio-net:virtio\n"
                f"{P}error while loading state for instance 0x0 of device '0000:00:03.0/virtio-net'\n"
                f"{P}load of migration failed: Operation not permitted"
            ),
            "",
            "8.2.0",
            f"virtio-features virtio-net {0x1C0010130AFFFA7 & ~0x10179BFFFE7:#x}",
        ),
        (
            (
                f"{P}Failed to load virtio-vhost_vsock:virtio\n"
                f"{P}error while loading state for instance 0x0 of device '0000:00:03.0/virtio-vhost_vsock'\n"
                f"{P}load of migration failed: No such file or directory"
            ),
            "",
            "5.1.0",
            "missing-subsection virtio-vhost_vsock",
        ),
        (
            (
                f"{P}VQ 1 size 0x100 < last_avail_idx 0x9 - used_idx 0x3e30\n"
                f"{P}Failed to load virtio-net:virtio\n"
                f"{P}error while loading state for instance 0x0 of device '0000:00:03.0/virtio-net'\n"
                f"{P}load of migration failed: Operation not permitted"
            ),
            "",
            "10.1.0",
            "virtio-ring virtio-net index",
        ),
        (
            f"{P}Size too large: /rom@etc/table-loader: 0x2000 > 0x1000: Invalid argument",
            "",
            "5.2.0",
            "ram-size /rom@etc/table-loader",
        ),
        # made up from the table of formats
        (
            (
                f"{P}40 != 41\n{P}Failed to load cpu:x\n{P}error while loading state for instance 0x0 of device 'cpu'\n"
                f"{P}load of migration failed: Invalid argument"
            ),
            "",
            "7.2.22",
            "equal-check cpu",
        ),
        (
            (
                f"{P}load of migration failed: Invalid argument: error while loading state for instance 0x0 of device"
                " 'cpu': 40 != 41"
            ),
            "",
            "11.1.3",
            "equal-check cpu",
        ),
    ],
)
def test_texts(stderr: str, detail: str, version: str, expected: str) -> None:
    cause = classify(stderr, version=version, detail=detail)
    assert cause is not None
    assert signature(cause) == expected


def test_feature_bits_do_not_depend_on_how_they_are_printed() -> None:
    old = classify(_FEATURES, version="10.0.13")
    new = classify(_FEATURES.replace("0x", "0x0000000000000000"), version="11.1.3")
    assert old is not None
    assert new is not None
    assert old.field == new.field
    assert classify(_HALVES, version="11.1.3") is not None


@pytest.mark.parametrize(
    "stderr",
    [
        "",
        "some text that nobody knows\n",
        f"{P}{_DEPRECATED}\n",
        f"{P}warning: nic e1000e.0 has no peer\n",
        "audio: Could not init `oss' audio driver\nSlirp: Failed to send packet, ret: -1\n",
        f"{P}terminating on signal 15 from pid 4711 (sh)\n",
        f"{P}Expected vmdescription section, but got 0\n",
        f"{P}load of migration failed: Invalid argument\n",
    ],
)
def test_what_is_not_known_is_none(stderr: str) -> None:
    assert classify(stderr, version="10.0.13") is None


@pytest.mark.parametrize(
    ("stderr", "status", "expected", "name"),
    [
        ("", -11, Cause("crash", "", "SIGSEGV", "ended by SIGSEGV"), "crash SIGSEGV"),
        ("", -63, Cause("crash", "", "signal 63", "ended by signal 63"), "crash signal 63"),
        (
            "qemu-system-x86_64: ../hw/core/x.c:12: do_x: Assertion `a == b' failed.\n",
            -6,
            Cause("crash", "", "SIGABRT", "../hw/core/x.c:12: do_x: Assertion `a == b' failed."),
            "crash SIGABRT a == b",
        ),
        (
            "**\nERROR:../qom/object.c:715:object_new: assertion failed: (type != NULL)\n",
            -6,
            Cause(
                "crash",
                "",
                "SIGABRT",
                "ERROR:../qom/object.c:715:object_new: assertion failed: (type != NULL)",
            ),
            "crash SIGABRT (type != NULL)",
        ),
        (
            f"{P}{_AER}\n",
            -11,
            Cause("crash", "", "SIGSEGV", f"ended by SIGSEGV; {_AER}"),
            "crash SIGSEGV",
        ),
    ],
)
def test_a_death_by_signal_is_a_crash(stderr: str, status: int, expected: Cause, name: str) -> None:
    cause = classify(stderr, version="10.0.13", exit=status)
    assert cause == expected
    assert signature(cause) == name


@pytest.mark.parametrize("number", [1, 2, 3, 9, 15, 24, 25])
def test_a_signal_that_no_emulator_sends_itself_is_no_crash(number: int) -> None:
    cause = classify(f"{P}{_AER}\n", version="10.0.13", exit=-number)
    assert cause is not None
    assert (cause.kind, cause.device, signature(cause)) == ("killed", "", "killed")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Could not set up host forwarding rule 'tcp:127.0.0.1:22022-:22'", "address-in-use"),
        ('-drive file=a: Failed to get "write" lock\nIs another process using the image [a]?', "in-use"),
        (
            "os_mem_prealloc: Insufficient free host memory pages available to allocate guest RAM",
            "out-of-memory",
        ),
    ],
)
def test_what_the_host_lacks_is_told_apart(text: str, kind: str) -> None:
    cause = classify(f"{P}{text}\n", version="10.0.13", exit=1)
    assert cause is not None
    assert cause.kind == kind


def test_an_assertion_is_one_problem_wherever_its_line_is() -> None:
    texts = [f"qemu-system-x86_64: ../x.c:{line}: f: Assertion `x > 0' failed.\n" for line in (12, 340)]
    causes = [classify(text, version="10.0.13", exit=-6) for text in texts]
    assert causes[0] != causes[1]
    assert len({signature(cause) for cause in causes if cause}) == 1


def test_glued_messages_are_parted() -> None:
    text = "ERROR: subsys/subsys_ven differqemu-system-x86_64: load of migration failed: x\n\0\0\n"
    assert clean(text).splitlines() == ["ERROR: subsys/subsys_ven differ", "load of migration failed: x"]


def test_zero_flags_are_a_cut_stream_only_where_they_were_read_behind_the_end() -> None:
    text = "Unknown combination of migration flags: 0x0"
    kinds = [c.kind for v in ("5.2.0", "7.2.22", "10.0.13") if (c := classify(text, version=v))]
    assert kinds == ["truncated", "truncated", "ram-stream"]


@pytest.mark.parametrize(
    ("idstr", "name"),
    [
        ("0000:00:01.0/pcie-root-port", "pcie-root-port"),
        ("0000:00:05.0:00.0/virtio-net", "virtio-net"),
        ("0000:00:03.0/1.2/usb-kbd", "usb-kbd"),
        ("0000:00:04.0/0:0:0/scsi-disk", "scsi-disk"),
        ("/rom@etc/acpi/tables", "/rom@etc/acpi/tables"),
        ("apic", "cpu"),
        ("serial", "serial"),
    ],
)
def test_a_signature_has_no_bus_address(idstr: str, name: str) -> None:
    assert signature(Cause("missing-device", idstr)) == f"missing-device {name}"


def test_unknown_texts_are_one_problem_apart_from_their_numbers() -> None:
    first = Cause("unclassified", message="vq 3 of 'a' is at 0x10")
    second = Cause("unclassified", message="vq 7 of 'b' is at 0x20")
    assert signature(first) == signature(second) == "unclassified vq N of '' is at N"


@pytest.mark.parametrize(
    ("idstr", "name"),
    [
        ("virtio-mmio@0000000010008000/virtio-rng", "virtio-rng"),  # riscv64 and Arm virt
        ("virtio-mmio@00000000feb02e00/virtio-console", "virtio-console"),  # microvm
        ("/fe.0.0000/virtio-rng", "virtio-rng"),  # s390-ccw-virtio
        ("/fe.3.ffff/virtio-blk", "virtio-blk"),
        ("pci@800000020000000:00.0/virtio-rng", "virtio-rng"),  # pseries
        ("pci@800000020000000:00.0:01.0/1/usb-kbd", "usb-kbd"),
        ("v-scsi@71000001/spapr_vscsi", "spapr_vscsi"),
        ("l-lan@71000002/spapr_llan", "spapr_llan"),
        ("1.2/usb-ptr", "usb-ptr"),  # a controller that is on no PCI bus
        ("/rom@etc/acpi/tables", "/rom@etc/acpi/tables"),  # a block of memory, and no address
        ("mach-virt.ram", "mach-virt.ram"),
    ],
)
def test_no_bus_leaves_its_addresses_in_a_signature(idstr: str, name: str) -> None:
    cause = classify(f"{P}Unknown savevm section or instance '{idstr}' 0\n", version="10.0.13")
    assert cause is not None
    assert signature(cause) == f"missing-device {name}"


@pytest.mark.parametrize(
    "text", ["No TLS credentials with id 'tls0'", "Object with id 'tls0' is not TLS credentials"]
)
def test_a_mode_that_names_an_object_which_is_not_there_is_a_mistake_of_the_file(text: str) -> None:
    cause = classify(text, version="10.0.13")
    assert cause is not None
    assert (signature(cause), cause.field) == ("missing-backend tls-creds tls0", "tls0")


def test_a_hostile_text_is_cut_before_patterns_see_it() -> None:
    told = "qemu-system-x86_64: load of migration failed: Input/output error"

    assert len(clean("x" * 1_000_000)) < 3000
    text = clean("_" * 100_000 + "\n" + "y\n" * 1_000_000 + told)

    assert len(text) <= (64 << 10) + 1
    assert text.endswith("\nload of migration failed: Input/output error")


def test_files_of_the_harness_do_not_part_a_problem() -> None:
    said = "cannot connect to /tmp/migmatrix-0/ab12cd34/link/{}: no"

    one, other = (signature(Cause("unclassified", message=said.format(name))) for name in ("0af3", "77be"))

    assert one == other


@pytest.mark.parametrize(("cause", "told"), [
    (Cause("crash", "", "SIGABRT", "qemu: ../hw/pci/msix.c:1: f: Assertion `vector < dev->msix_entries_nr' failed."), True),
    (Cause("crash", "", "SIGSEGV", "ended by SIGSEGV in save"), False),
    (Cause("hang", "", "load", "no answer"), False),
    (Cause("device-load", "0000:00:01.0/virtio-mem", "virtio-mem:virtio", ""), False),
    (Cause("virtio-ring", "0000:00:01.0/virtio-scsi", "vring.num", ""), True),
    (Cause("missing-footer", "0000:00:01.0/pciespscsi", "", ""), True),
])  # fmt: skip
def test_whether_a_family_tells_where_it_fails(cause: Cause, told: bool) -> None:
    assert tells_place(cause) is told
