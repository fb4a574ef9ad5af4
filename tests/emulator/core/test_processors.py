# SPDX-License-Identifier: Apache-2.0
"""Processors: models and flags, and which of their registers are sent: every subsection of ``cpu``, by the register that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from real_devices import release, small_machine
from sections import machine

from migmatrix.emulator.devices.cpu import FEATURES, X86Cpu
from migmatrix.emulator.errors import EmulatorError
from migmatrix.vmstate.device.errors import Kind, VMStateError
from migmatrix.vmstate.device.lifetime import release_key
from migmatrix.vmstate.device.source import BytesSource

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine

# what an idle guest under TCG sends: see the track record
IDLE: Final = ["cpu/poll_control_msr"]


def cpus(made: Machine) -> list[X86Cpu]:
    """Its processors."""
    return [device for device in made.walk() if isinstance(device, X86Cpu)]


def with_cpu(words: str, name: str = "10.0") -> Machine:
    """A PC with `-cpu WORDS`."""
    return small_machine(name, f"pc-q35-{name}", "-cpu", words)


def subsections(made: Machine) -> list[str]:
    """Names of those of the first processor."""
    desc = made.registry.find("cpu", 0).save().desc
    return [sub["vmsd_name"] for sub in desc.get("subsections", ())]


def move(source: Machine, destination: Machine, section: str = "cpu") -> Any:
    """Save the first processor, load it on the other side; the state there."""
    saved, entry = source.registry.find(section, 0), destination.registry.find(section, 0)
    incoming = BytesSource(saved.save().data)
    entry.load(incoming, saved.version_id)
    assert not incoming.left
    return entry.state


# -- subsections --------------------------------------------------------------------------------------

# register of `env`, and the subsection that it is sent in; lists are set in their last element
REGISTERS: Final = {
    "async_pf_en_msr": "async_pf_msr", "async_pf_int_msr": "async_pf_int_msr", "pv_eoi_en_msr": "async_pv_eoi_msr",
    "steal_time_msr": "steal_time_msr", "fpop": "fpop_ip_dp", "fpip": "fpop_ip_dp", "fpdp": "fpop_ip_dp",
    "tsc_adjust": "msr_tsc_adjust", "tsc_deadline": "msr_tscdeadline", "msr_ia32_misc_enable": "msr_ia32_misc_enable",
    "msr_ia32_feature_control": "msr_ia32_feature_control", "msr_fixed_ctr_ctrl": "msr_architectural_pmu",
    "msr_global_ctrl": "msr_architectural_pmu", "msr_global_status": "msr_architectural_pmu",
    "msr_fixed_counters": "msr_architectural_pmu", "msr_gp_counters": "msr_architectural_pmu",
    "msr_gp_evtsel": "msr_architectural_pmu", "msr_bndcfgs": "mpx", "msr_hv_hypercall": "msr_hyperv_hypercall",
    "msr_hv_guest_os_id": "msr_hyperv_hypercall", "msr_hv_vapic": "msr_hyperv_vapic", "msr_hv_tsc": "msr_hyperv_time",
    "msr_hv_crash_params": "msr_hyperv_crash", "msr_hv_runtime": "msr_hyperv_runtime",
    "msr_hv_synic_control": "msr_hyperv_synic", "msr_hv_synic_sint": "msr_hyperv_synic",
    "msr_hv_stimer_config": "msr_hyperv_stimer", "msr_hv_stimer_count": "msr_hyperv_stimer",
    "msr_hv_tsc_emulation_status": "msr_hyperv_reenlightenment", "opmask_regs": "avx512", "xss": "xss",
    "umwait": "umwait", "tsc_khz": "tsc_khz", "msr_smi_count": "msr_smi_count", "pkru": "pkru", "pkrs": "pkrs",
    "spec_ctrl": "spec_ctrl", "mcg_ext_ctl": "mcg_ext_ctl", "msr_rtit_ctrl": "intel_pt", "msr_rtit_addrs": "intel_pt",
    "virt_ssbd": "virt_ssbd", "int_ctl": "svm_guest", "msr_xfd": "msr_xfd", "msr_xfd_err": "msr_xfd",
    "msr_hwcr": "msr_hwcr", "triple_fault_pending": "triple_fault",
}  # fmt: skip
# those that are younger than 5.2: first release
YOUNG: Final = {
    "pkrs": "6.0", "int_ctl": "6.2", "msr_xfd": "7.0", "msr_xfd_err": "7.0", "triple_fault_pending": "7.2", "msr_hwcr": "9.2",
}  # fmt: skip


def use(made: Machine, register: str, value: int = 3) -> None:
    """Have the guest write a register."""
    env = made.registry.find("cpu", 0).state.env
    if isinstance(getattr(env, register), list):
        getattr(env, register)[-1] = value
    else:
        setattr(env, register, value)


def used(state: Any, register: str) -> int:
    """What a register holds."""
    found = getattr(state.env, register)
    return int(found[-1] if isinstance(found, list) else found)


@pytest.mark.parametrize("name", ["5.2", "7.2", "10.0", "11.1"])
def test_an_idle_processor_sends_no_more(name: str) -> None:
    assert subsections(machine(name)) == IDLE


@pytest.mark.parametrize("register", REGISTERS)
def test_a_register_that_the_guest_wrote_is_sent(register: str) -> None:
    """In its own subsection and in no other, and it arrives."""
    guest = machine("10.0")
    use(guest, register)
    assert {*subsections(guest)} - {*IDLE} == {f"cpu/{REGISTERS[register]}"}
    assert used(move(guest, machine("10.0")), register) == 3


@pytest.mark.parametrize("register", REGISTERS)
@pytest.mark.parametrize("old", ["5.2", "7.2"])
def test_what_an_older_release_does_not_know_is_refused_there(register: str, old: str) -> None:
    """By the name of the subsection; everything else goes back."""
    guest = machine("10.0")
    use(guest, register)
    if release_key(YOUNG.get(register, "5.2")) <= release_key(old):
        assert used(move(guest, machine(old)), register) == 3
        return
    with pytest.raises(VMStateError) as refused:
        move(guest, machine(old))
    assert (refused.value.kind, refused.value.facts["name"]) == (
        Kind.UNKNOWN_SUBSECTION,
        f"cpu/{REGISTERS[register]}",
    )


def test_several_are_sent_in_the_order_of_the_description() -> None:
    """QEMU's order: the loader reads them one after the other, whichever come."""
    guest = machine("10.0")
    for register in REGISTERS:
        use(guest, register)
    found = subsections(guest)
    assert found.index("cpu/async_pf_msr") < found.index("cpu/poll_control_msr") < found.index("cpu/xss")
    assert found[-3:] == ["cpu/msr_xfd", "cpu/msr_hwcr", "cpu/triple_fault"]
    assert len(found) == len(set(found)) == len({*REGISTERS.values()}) + 1
    state = move(guest, machine("10.0"))
    assert {register for register in REGISTERS if used(state, register) != 3} == set()


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("", []),
        (",tsc-scale=on", ["cpu/amd_tsc_scale_msr"]),
        (",tsx-ctrl=on", ["cpu/msr_tsx_ctrl"]),
        (",sgxlc=on", ["cpu/intel_sgx"]),
        (",+fred", ["cpu/fred"]),
        (",+fred,-fred", []),
        (",+tsx-ctrl,+sgxlc", ["cpu/msr_tsx_ctrl", "cpu/intel_sgx"]),
    ],
)
def test_a_flag_alone_makes_its_registers_be_sent(flags: str, names: list[str]) -> None:
    """Whatever they hold: these conditions look at the model, not at the guest."""
    assert [n for n in subsections(with_cpu(f"qemu64{flags}")) if n not in IDLE] == names


@pytest.mark.parametrize(
    ("pending", "nested", "sent"), [(1, True, True), (1, False, False), (0, True, False)]
)
def test_an_exception_is_sent_apart_in_a_nested_guest(pending: int, nested: bool, sent: bool) -> None:
    guest = machine("10.0")
    env = guest.registry.find("cpu", 0).state.env
    env.exception_pending, env.exception_nr = pending, 14
    env.hflags |= nested << 21
    assert ("cpu/exception_info" in subsections(guest)) == sent


@pytest.mark.parametrize(("index", "value"), [(0, 4), (15, 7)])
def test_upper_halves_of_wide_registers(index: int, value: int) -> None:
    """AVX-512: words 4 to 7 of the first sixteen registers."""
    guest = machine("10.0")
    setattr(guest.registry.find("cpu", 0).state.env.xmm_regs[index], f"q{value}", 99)
    assert "cpu/avx512" in subsections(guest)
    assert getattr(move(guest, machine("10.0")).env.xmm_regs[index], f"q{value}") == 99


# -- loads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "destination", "taken"),
    [
        ("", "", True),
        ("2000000000", "", True),
        ("2000000000", "2000000000", True),
        ("2000000000", "1000000000", False),
    ],
)
def test_frequencies_must_agree_where_both_are_given(source: str, destination: str, taken: bool) -> None:
    guest, other = (with_cpu(f"qemu64{f',tsc-frequency={hz}' if hz else ''}") for hz in (source, destination))
    if source:
        guest.registry.find("cpu", 0).state.env.tsc_khz = int(source) // 1000
    if taken:
        move(guest, other)
        return
    with pytest.raises(
        VMStateError, match="Mismatch between user-specified TSC frequency and migrated TSC frequency"
    ):
        move(guest, other)


def test_registers_of_an_old_floating_point_unit_are_refused() -> None:
    data = bytearray(machine("10.0").registry.find("cpu", 0).save().data)
    at = 16 * 8 + 8 + 8 + 4 + 2 + 2 + 2  # regs, eip, eflags, hflags, fpuc, fpus, fptag
    data[at : at + 2] = b"\0\1"
    with pytest.raises(VMStateError, match="Unsupported old non-softfloat CPU state"):
        machine("10.0").registry.find("cpu", 0).load(BytesSource(bytes(data)), 12)


@pytest.mark.parametrize(
    ("cr0", "privilege", "kept"), [(0x60000010, 3, 0), (0x60000011, 3, 3), (0x60000010, 0, 0)]
)
def test_segments_have_no_privilege_in_real_mode(cr0: int, privilege: int, kept: int) -> None:
    guest = machine("10.0")
    env = guest.registry.find("cpu", 0).state.env
    env.cr0 = cr0
    for segment in env.segs:
        segment.flags |= privilege << 13
    loaded = move(guest, machine("10.0")).env
    assert {segment.flags >> 13 & 3 for segment in loaded.segs} == {kept}
    assert loaded.hflags & 3 == kept, "the current privilege is that of the stack's segment"


@pytest.mark.parametrize(("sent", "kept"), [(0x00, 0x00), (0x01, 0x00), (0x03, 0x02), (0x102, 0x102)])
def test_a_request_that_no_longer_exists_is_dropped(sent: int, kept: int) -> None:
    guest = machine("10.0")
    guest.registry.find("cpu_common", 0).state.interrupt_request = sent
    assert move(guest, machine("10.0"), "cpu_common").interrupt_request == kept


# -- models and flags ---------------------------------------------------------------------------------

MODELS: Final = ("486", "qemu32", "qemu64", "max", "host")


@pytest.mark.parametrize("name", ["5.2", "7.2", "10.0", "11.1"])
@pytest.mark.parametrize("model", MODELS)
def test_models(name: str, model: str) -> None:
    """Every release has them; only the oldest model has no interrupt controller of its own."""
    made = with_cpu(model, name)
    assert [cpu.type_name for cpu in cpus(made)] == [f"{model}-x86_64-cpu"]
    assert any(entry.idstr == "apic" for entry in made.registry) == (model != "486")


@pytest.mark.parametrize("flag", [name for name in FEATURES if name not in {"apic", "mce", "mca"}])
@pytest.mark.parametrize(
    ("form", "value"), [("+{}", True), ("{}=on", True), ("-{}", False), ("{}=off", False), ("{}", True)]
)
def test_flags(flag: str, form: str, value: bool) -> None:
    """Signs are the old form; a flag without a value is on."""
    (cpu,) = cpus(with_cpu(f"qemu64,{form.format(flag)}"))
    assert cpu.get(flag) is value
    assert (flag in cpu.state.features) is value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nosuch", "nosuch"),
        ("qemu64,nosuch=on", "Property 'qemu64-x86_64-cpu.nosuch' not found"),
        ("qemu64,+nosuch", "Property 'qemu64-x86_64-cpu.nosuch' not found"),
        ("qemu64,pku=maybe", "pku"),
        ("qemu64,tsc-frequency=fast", "tsc-frequency"),
    ],
)
def test_what_no_processor_has(words: str, message: str) -> None:
    with pytest.raises(EmulatorError, match=message):
        with_cpu(words)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_processor_has_its_sections(count: int) -> None:
    """Numbered as they were made; all but the first wait to be started."""
    made = small_machine("10.0", "pc-q35-10.0", "-smp", str(count))
    for section in ("cpu_common", "cpu", "apic"):
        assert [e.instance_id for e in made.registry if e.idstr == section] == list(range(count))
    assert [cpu.common.halted for cpu in cpus(made)] == [0] + [1] * (count - 1)


@pytest.mark.parametrize("name", ["5.1", "6.2", "8.0", "11.1"])
def test_default_models(name: str) -> None:
    """That of the machine type: what `-cpu` would name."""
    kinds = release(name).machine_types
    assert kinds[f"pc-q35-{name}"].default_cpu == "qemu64-x86_64-cpu"
    (cpu,) = cpus(small_machine(name, f"pc-q35-{name}"))
    assert cpu.type_name == kinds[f"pc-q35-{name}"].default_cpu
