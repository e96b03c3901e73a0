//! What each register covers on Compute Engine, in words.
//!
//! 0 to 7: TCG PC Client Platform Firmware Profile,
//! <https://trustedcomputinggroup.org/resource/pc-client-specific-platform-firmware-profile-specification/>,
//! and what the event logs of Debian, Ubuntu, RHEL, COS and GKE images show that are recorded in
//! <https://github.com/google/go-tpm-tools>. 8, 9, 11 to 14 on Linux: the registry of the UAPI group,
//! <https://uapi-group.org/specifications/specs/linux_tpm_pcr_registry/>. 11 to 14 on Windows are Microsoft's usual
//! ones; no recorded log of a Windows VM on Compute Engine confirms them.

use serde::Serialize;

use super::measurement::Pcr;

/// What a register covers and what a change of it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Meaning {
    /// What is measured into it.
    pub covers: &'static str,
    /// What a changed value says, as a clause.
    pub changed: &'static str,
    /// What usually changes it without harm; `None` when nothing should.
    pub harmless: Option<&'static str>,
    /// Whether a change alone calls for attention at once.
    pub grave: bool,
}

/// The words for a register.
pub fn meaning(pcr: Pcr) -> Meaning {
    let (covers, changed, harmless, grave) = match pcr.number() {
        0 => (
            "virtual firmware and confidential computing technology",
            "the virtual firmware or the confidential computing mode changed",
            Some("the VM moved to a newer firmware generation, or confidential computing was switched"),
            true,
        ),
        1 => ("boot order and boot entries", "the boot order changed", Some("a disk or the image was changed"), false),
        2 | 3 | 6 => (
            "option ROMs and platform state; only a separator on Compute Engine",
            "an option ROM or platform state was measured where nothing should be",
            None,
            true,
        ),
        4 => (
            "boot manager and boot loader (shim, GRUB, Windows boot manager); on RHEL-like systems also the kernel",
            "the boot loader or kernel binary changed",
            Some(
                "an update of shim, GRUB or the Windows boot manager, a kernel update on RHEL-like systems, or a new image",
            ),
            true,
        ),
        5 => (
            "partition table and the end of the boot services",
            "the partition table changed",
            Some("a disk was resized or partitioned anew"),
            false,
        ),
        7 => (
            "Secure Boot state and keys (PK, KEK, db, dbx) and the authorities that were used",
            "the Secure Boot state or its keys changed",
            Some(
                "Secure Boot was switched, db, dbx, KEK or SBAT were updated, or another certificate signed the loader",
            ),
            true,
        ),
        8 => (
            "boot loader commands and the kernel command line",
            "the boot loader's commands or the kernel command line changed",
            Some("a change of the GRUB configuration, or a kernel update that changed the menu entry"),
            false,
        ),
        9 => (
            "files the boot loader read: kernel, initrd, GRUB configuration",
            "the kernel, the initrd or the GRUB configuration file changed",
            Some("a kernel or initrd update"),
            false,
        ),
        11 => (
            "BitLocker access control (Windows), or the parts of a unified kernel image (Linux)",
            "the BitLocker access control state or the unified kernel image changed",
            Some("a change of the BitLocker configuration, or a kernel update with unified kernel images"),
            false,
        ),
        12 => (
            "volatile boot data (Windows), or the command line and credentials of a unified kernel image (Linux)",
            "volatile boot data changed",
            Some("it changes on many boots"),
            false,
        ),
        13 => (
            "boot modules and drivers (Windows), or system extensions (Linux)",
            "the set of boot modules or drivers changed",
            Some("a driver or cumulative update"),
            false,
        ),
        14 => (
            "machine-owner keys (Linux), or boot signing authorities (Windows)",
            "the machine-owner keys or the boot signing authorities changed",
            Some("a machine-owner key was enrolled, or shim was updated"),
            true,
        ),
        _ => (
            "not used by the boot of Compute Engine's images",
            "a register changed that the boot of Compute Engine's images does not use",
            None,
            false,
        ),
    };
    Meaning { covers, changed, harmless, grave }
}
