//! qcow2 through the crate `qcow2-rs`, for reading only.
//!
//! The crate panics on damaged metadata and leaves buffers uninitialised on short reads. The
//! first is contained by the confined child, the second by filling every buffer here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use qcow2_rs::dev::{Qcow2Dev, Qcow2DevParams};
use qcow2_rs::error::Qcow2Result;
use qcow2_rs::meta::MappingSource;
use qcow2_rs::ops::Qcow2IoOps;
use qcow2_rs::utils::qcow2_alloc_dev;
use tokio::runtime::{Builder, Runtime};

use super::{Disk, within};
use crate::inspection::{AllocatedMap, Extent};

/// The image file as the crate wants it: reads from the open descriptor, refuses all else.
struct ReadOnlyFile(File);

impl Qcow2IoOps for ReadOnlyFile {
    async fn read_to(&self, offset: u64, buffer: &mut [u8]) -> Qcow2Result<usize> {
        buffer.fill(0);
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset
                .checked_add(filled as u64)
                .ok_or("offset beyond any file")?;
            match self.0.read_at(&mut buffer[filled..], at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(buffer.len())
    }

    async fn write_from(&self, _offset: u64, _buffer: &[u8]) -> Qcow2Result<()> {
        Err("captured volumes are never written".into())
    }

    async fn fallocate(&self, _offset: u64, _length: usize, _flags: u32) -> Qcow2Result<()> {
        Err("captured volumes are never written".into())
    }

    async fn fsync(&self, _offset: u64, _length: usize, _flags: u32) -> Qcow2Result<()> {
        Ok(())
    }
}

/// A qcow2 image of version 3 without incompatible features and without backing file.
pub(crate) struct Qcow2Disk {
    runtime: Runtime,
    device: Qcow2Dev<ReadOnlyFile>,
}

impl Qcow2Disk {
    pub(crate) fn open(file: File) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        let parameters = parameters(&file)?;
        let opened = async {
            let name = Path::new("image");
            let (device, _) = qcow2_alloc_dev(name, ReadOnlyFile(file), &parameters).await?;
            device.qcow2_prep_io().await?;
            Qcow2Result::Ok(device)
        };
        let device = runtime.block_on(opened).map_err(io::Error::other)?;
        Ok(Self { runtime, device })
    }

    fn read_sectors(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let read = self
            .runtime
            .block_on(self.device.read_at(buffer, offset))
            .map_err(io::Error::other)?;
        if read < buffer.len() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(())
    }
}

/// The crate caches tables in slices of 4 KiB, which clusters may be smaller than.
fn parameters(file: &File) -> io::Result<Qcow2DevParams> {
    let mut cluster_bits = [0; 4];
    file.read_exact_at(&mut cluster_bits, 20)?;
    let slice_bits = u32::from_be_bytes(cluster_bits).clamp(9, 12) as u8;
    let cache = Some((slice_bits, CACHE));
    Ok(Qcow2DevParams::new(9, cache, cache, true, false))
}

const CACHE: usize = 1 << 20;
const SECTOR: u64 = 512;

impl Disk for Qcow2Disk {
    fn size(&self) -> u64 {
        self.device.info.virtual_size()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        within(self.size(), offset, buffer.len())?;
        // One cluster at a time: the crate's reads over several clusters hide errors, and those
        // over the end of the disk are wrong.
        let cluster = self.device.info.cluster_size() as u64;
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let end = (at / cluster + 1) * cluster;
            let count = ((end - at) as usize).min(buffer.len() - done);
            let first = at / SECTOR * SECTOR;
            let last = (at + count as u64).next_multiple_of(SECTOR);
            let mut sectors = vec![0; (last - first) as usize];
            self.read_sectors(first, &mut sectors)?;
            let skip = (at - first) as usize;
            buffer[done..done + count].copy_from_slice(&sectors[skip..skip + count]);
            done += count;
        }
        Ok(())
    }
}

/// The map of the top layer. `populated` names the ranges of the disk that have an L2 table, so
/// that a huge empty disk costs nothing.
pub(crate) fn map(file: File, populated: &[Extent]) -> io::Result<AllocatedMap> {
    let disk = Qcow2Disk::open(file)?;
    let size = disk.size();
    let cluster = disk.device.info.cluster_size() as u64;
    let mut map = AllocatedMap {
        virtual_size: size,
        cluster_size: cluster,
        written: 0,
        extents: Vec::new(),
        cut: false,
    };
    for range in populated {
        let end = range.start.saturating_add(range.length).min(size);
        let mut at = range.start;
        while at < end {
            let length = cluster.min(size - at);
            if disk.is_written(at)? {
                add(&mut map, at, length);
            }
            at += length;
        }
    }
    Ok(map)
}

impl Qcow2Disk {
    pub(super) fn cluster_size(&self) -> u64 {
        self.device.info.cluster_size() as u64
    }

    pub(super) fn is_written(&self, offset: u64) -> io::Result<bool> {
        let mapping = self
            .runtime
            .block_on(self.device.get_mapping(offset))
            .map_err(io::Error::other)?;
        Ok(matches!(
            mapping.source,
            MappingSource::DataFile | MappingSource::Compressed | MappingSource::Zero
        ))
    }
}

fn add(map: &mut AllocatedMap, start: u64, length: u64) {
    map.written += length;
    let count = map.extents.len();
    match map.extents.last_mut() {
        Some(last) if last.start + last.length == start => last.length += length,
        _ if count >= AllocatedMap::MOST_EXTENTS => map.cut = true,
        _ => map.extents.push(Extent { start, length }),
    }
}
