/** MP4 files, decoded frame by frame by WebCodecs. */

import { createFile, DataStream, Endianness } from "mp4box";
import { fitted, Grabber } from "./media.js";

const REORDERED = 16; // frames that may come before others that are shown earlier

/**
 * The first frames of an MP4 file at a size; null where the browser or the file does not allow it.
 * @param {File} file
 * @param {number} side
 * @param {number} most
 * @param {(frames: number) => void} tell
 * @returns {Promise<{frames: import("./pixels.js").Picture[], rate: number} | null>}
 */
export async function decodeClip(file, side, most, tell) {
  if (typeof VideoDecoder === "undefined") return null;
  const track = demux(await file.arrayBuffer());
  if (!track || !track.samples.length) return null;
  const { config, samples, turns } = track;
  if (!(await VideoDecoder.isConfigSupported(config).catch(() => null))?.supported) return null;
  /** @type {import("./pixels.js").Picture[]} */
  const frames = [];
  /** @type {Grabber | null} */
  let grabber = null;
  let failed = false;
  const decoder = new VideoDecoder({
    output(frame) {
      if (frames.length < most) {
        const { width, height } = fitted(frame.displayWidth, frame.displayHeight, side);
        grabber ??= turns % 2 ? new Grabber(height, width, turns) : new Grabber(width, height, turns);
        frames.push(grabber.grab(frame));
        tell(frames.length);
      }
      frame.close();
    },
    error() {
      failed = true;
    },
  });
  decoder.configure(config);
  for (const sample of samples.slice(0, most + REORDERED)) {
    decoder.decode(
      new EncodedVideoChunk({
        type: sample.is_sync ? "key" : "delta",
        timestamp: Math.round((1e6 * sample.cts) / sample.timescale),
        data: /** @type {Uint8Array<ArrayBuffer>} */ (sample.data),
      }),
    );
  }
  await decoder.flush().catch(() => {
    failed = true;
  });
  if (failed && !frames.length) return null;
  const [first, final] = [samples[0], samples[samples.length - 1]];
  const seconds = (final.dts - first.dts) / first.timescale;
  return { frames, rate: seconds > 0 ? (samples.length - 1) / seconds : 25 };
}

/**
 * The video track of an MP4 file: what its decoder needs to know, and its samples in the order of decoding.
 * @param {ArrayBuffer} bytes
 * @returns {{config: VideoDecoderConfig, samples: import("mp4box").Sample[], turns: number} | null}
 */
function demux(bytes) {
  const mp4 = createFile();
  /** @type {VideoDecoderConfig | null} */
  let config = null;
  let turns = 0; // clockwise, that a player makes of what the camera saw
  /** @type {import("mp4box").Sample[]} */
  const samples = [];
  mp4.onReady = (movie) => {
    const track = movie.videoTracks[0];
    if (!track) return;
    config = {
      codec: track.codec,
      codedWidth: track.video?.width,
      codedHeight: track.video?.height,
      description: descriptionOf(mp4, track.id),
    };
    const [a, b] = track.matrix;
    turns = (Math.round(Math.atan2(b, a) / (Math.PI / 2)) + 4) % 4;
    mp4.setExtractionOptions(track.id, null, { nbSamples: 1000 });
    mp4.start();
  };
  mp4.onSamples = (_id, _user, found) => {
    samples.push(...found);
  };
  try {
    mp4.appendBuffer(/** @type {import("mp4box").MP4BoxBuffer} */ (Object.assign(bytes, { fileStart: 0 })));
    mp4.flush();
  } catch {
    return null;
  }
  return config && { config, samples, turns };
}

/**
 * The decoder's configuration as the file has it, without the header of its box.
 * @param {import("mp4box").ISOFile} mp4
 * @param {number} id
 */
function descriptionOf(mp4, id) {
  for (const entry of /** @type {any} */ (mp4.getTrackById(id)).mdia.minf.stbl.stsd.entries) {
    const box = entry.avcC ?? entry.hvcC ?? entry.vpcC ?? entry.av1C;
    if (box) {
      const stream = new DataStream(undefined, 0, Endianness.BIG_ENDIAN);
      box.write(stream);
      return new Uint8Array(stream.buffer, 8, stream.getPosition() - 8);
    }
  }
  return undefined;
}
