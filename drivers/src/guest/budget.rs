//! How much of a guest is held in memory, by what the micro-VM has of it.

/// The memory that the usual limits are made for.
const USUAL_MIB: u32 = 512;

/// Bounds in bytes.
///
/// In 512 MiB, of which the kernel, the injector and its tools leave about
/// 430: while images are read, all that is kept of them (144) and what a
/// decompressor takes (256); while a change is planned, all of that and the
/// change (96); while it is verified, what is kept twice (288). A kernel takes
/// about 5 to 6, so that some 25 fit. Each further MiB of the micro-VM gives
/// half to either, which keeps all three sums within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// What is kept of all initramfs images and indexes of modules.
    pub images: usize,
    /// All that is written.
    pub edits: u64,
}

impl Budget {
    /// What fits into a micro-VM with so much memory.
    pub fn of_memory(mib: u32) -> Self {
        let more = mib.saturating_sub(USUAL_MIB) / 2;
        let usual = Self::default();
        Self {
            images: usual.images + ((more as usize) << 20),
            edits: usual.edits + (u64::from(more) << 20),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            images: 144 << 20,
            edits: 96 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_holds_more_and_all_of_it_fits() {
        assert_eq!(Budget::of_memory(512), Budget::default());
        assert_eq!(Budget::of_memory(0), Budget::default());
        // Each sum grows by no more than the memory does.
        for mib in [513, 768, 1536, 2560] {
            let budget = Budget::of_memory(mib);
            let images = (budget.images >> 20) as u32;
            let edits = (budget.edits >> 20) as u32;
            assert!(2 * images <= 288 + mib - 512);
            assert!(images + edits <= 144 + 96 + mib - 512);
        }
        // Two hundred megabytes of indexes are more than the usual, and no more than the larger.
        assert!(Budget::default().images < 200 << 20);
        assert!(Budget::of_memory(1536).images > 600 << 20);
    }
}
