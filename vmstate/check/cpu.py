# SPDX-License-Identifier: Apache-2.0
"""Subsections of x86 CPUs, which ``-dump-vmstate`` leaves out: a CPU's description belongs to no device class.

A CPU that has not run sends few of them, so that a build's own stream does not tell what it knows.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CPU_SUBSECTIONS"]

CPU_SUBSECTIONS: Final = frozenset(
    [
        "cpu/async_pf_int_msr",
        "cpu/async_pf_msr",
        "cpu/async_pv_eoi_msr",
        "cpu/avx512",
        "cpu/exception_info",
        "cpu/fpop_ip_dp",
        "cpu/intel_pt",
        "cpu/kvm_nested_state",
        "cpu/mcg_ext_ctl",
        "cpu/mpx",
        "cpu/msr_architectural_pmu",
        "cpu/msr_hyperv_crash",
        "cpu/msr_hyperv_hypercall",
        "cpu/msr_hyperv_reenlightenment",
        "cpu/msr_hyperv_runtime",
        "cpu/msr_hyperv_stimer",
        "cpu/msr_hyperv_synic",
        "cpu/msr_hyperv_time",
        "cpu/msr_hyperv_vapic",
        "cpu/msr_ia32_feature_control",
        "cpu/msr_ia32_misc_enable",
        "cpu/msr_smi_count",
        "cpu/msr_tsc_adjust",
        "cpu/msr_tscdeadline",
        "cpu/msr_tsx_ctrl",
        "cpu/nested_state",
        "cpu/pkru",
        "cpu/poll_control_msr",
        "cpu/spec_ctrl",
        "cpu/steal_time_msr",
        "cpu/svn_npt",
        "cpu/tsc_khz",
        "cpu/umwait",
        "cpu/virt_ssbd",
        "cpu/xss",
    ]
)
"""Names that QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3 all hold (in Debian's programs)."""
