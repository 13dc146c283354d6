//! Takes from a kernel module the tables for those who debug the kernel, which cost each start of a pod more than the module itself.
//!
//! - Of the function tracer: for each of a module's functions that can be traced the kernel looks at every symbol of the module
//!   when it is loaded (kernel/trace/ftrace.c, `test_for_valid_rec`); of ext4, 860 times 3,600. Without them the functions of
//!   modules cannot be traced; their events can.
//! - Of the unwinder (ORC), which the kernel sorts: without them it finds its way through a module's part of a stack by guess, and
//!   marks what it finds with `?`.
//!
//! Under emulation both together took 150 ms of the 2 s of a start. Nothing moves: the sections stay, and are empty.

use std::mem::offset_of;

use object::LittleEndian;
use object::elf::{FileHeader64, SectionHeader64};
use object::pod::bytes_of;
use object::read::elf::FileHeader;

/// Where the functions are that can be traced, the names of the numbers that events show, how to unwind from where. Each may
/// have a section of relocations, `.rela` before its name.
const TABLES: [&[u8]; 4] = [
    b"__mcount_loc",
    b"_ftrace_eval_map",
    b".orc_unwind",
    b".orc_unwind_ip",
];

/// The module without the tables; as it is where it is no ELF file for this CPU.
pub(crate) fn without(mut module: Vec<u8>) -> Vec<u8> {
    for at in sizes(&module).unwrap_or_default() {
        if let Some(size) = module.get_mut(at..at + size_of::<u64>()) {
            size.fill(0);
        }
    }
    module
}

/// Where in the file the sizes of the tables' sections are.
fn sizes(module: &[u8]) -> Option<Vec<usize>> {
    let header = FileHeader64::<LittleEndian>::parse(module).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, module).ok()?;
    let first = usize::try_from(header.e_shoff(endian)).ok()?;
    let is_table = |section: &SectionHeader64<LittleEndian>| {
        let name = sections.section_name(endian, section).unwrap_or_default();
        TABLES.contains(&name.strip_prefix(b".rela").unwrap_or(name))
    };
    let of_tables = sections
        .iter()
        .enumerate()
        .filter(|(_, section)| is_table(section));
    let at = |(index, section): (usize, &SectionHeader64<LittleEndian>)| {
        first + index * bytes_of(section).len() + offset_of!(SectionHeader64<LittleEndian>, sh_size)
    };
    Some(of_tables.map(at).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with empty headers of sections of these names, the last of which is that of the names; each says that it is
    /// 24 bytes long, the last one how long it is.
    fn module(names: &[&str]) -> Vec<u8> {
        let mut strings = vec![0];
        let mut headers = vec![0; 64];
        for name in names.iter().chain([&".shstrtab"]) {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&u32::try_from(strings.len()).unwrap().to_le_bytes());
            header[32] = 24;
            strings.extend(name.bytes().chain([0]));
            headers.extend(header);
        }
        let (count, last) = (headers.len() / 64, headers.len() - 64);
        headers[last + 4] = 3;
        let names = u64::try_from(64 + headers.len()).unwrap();
        headers[last + 24..last + 32].copy_from_slice(&names.to_le_bytes());
        headers[last + 32] = u8::try_from(strings.len()).unwrap();
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        file[18] = 62;
        file[40] = 64;
        file[58] = 64;
        file[60] = u8::try_from(count).unwrap();
        file[62] = u8::try_from(count - 1).unwrap();
        [file, headers, strings].concat()
    }

    #[test]
    fn only_the_tables_are_empty() {
        let whole = module(&[".text", "__mcount_loc", ".rela__mcount_loc", "_ftrace_events"]);
        let without = without(whole.clone());
        let size = |file: &[u8], section: usize| file[64 + section * 64 + 32];
        let sizes = |file: &[u8]| (1..=4).map(|section| size(file, section)).collect::<Vec<_>>();
        assert_eq!(
            (sizes(&whole), sizes(&without)),
            (vec![24; 4], vec![24, 0, 0, 24])
        );
        let differ = whole.iter().zip(&without).filter(|(a, b)| a != b).count();
        assert_eq!((differ, whole.len()), (2, without.len()));
    }

    #[test]
    fn what_is_no_module_stays() {
        for other in [&b"\x7fELF"[..], b"", &[0xff; 200]] {
            assert_eq!(without(other.to_vec()), other);
        }
    }
}
