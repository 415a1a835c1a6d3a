// face-api under Node: the worker of pipeline.py, see its work(). The argument is the folder with node_modules.
"use strict";

const { createRequire } = require("module");
const fs = require("fs");
const path = require("path");

const folder = path.resolve(process.argv[2]);
const load = createRequire(path.join(folder, "worker.cjs"));
const packageFolder = (name) => path.join(folder, "node_modules", ...name.split("/"));
const version = (name) => JSON.parse(fs.readFileSync(path.join(packageFolder(name), "package.json"))).version;

async function main() {
  const task = JSON.parse(fs.readFileSync(0));
  const log = console.log;
  console.log = () => {}; // tfjs greets
  const tf = load("@tensorflow/tfjs");
  const wasm = load("@tensorflow/tfjs-backend-wasm");
  const sharp = load("sharp");
  const faceapi = load("@vladmandic/face-api/dist/face-api.node-wasm.js");
  wasm.setWasmPaths(path.join(packageFolder("@tensorflow/tfjs-backend-wasm"), "dist") + path.sep);
  await tf.setBackend("wasm");
  await tf.ready();
  const weights = path.join(packageFolder("@vladmandic/face-api"), "model");
  for (const net of ["ssdMobilenetv1", "faceLandmark68Net", "faceExpressionNet"]) {
    await faceapi.nets[net].loadFromDisk(weights);
  }

  async function read(file) {
    const { data, info } = await sharp(file).removeAlpha().toColourspace("srgb").raw().toBuffer({ resolveWithObject: true });
    return tf.tensor3d(new Uint8Array(data), [info.height, info.width, 3], "int32");
  }

  const best = (expressions) => expressions.asSortedArray()[0].expression;

  async function recognize(file) {
    const image = await read(file);
    const found = await faceapi.detectAllFaces(image).withFaceLandmarks().withFaceExpressions();
    tf.dispose(image);
    return found.map(({ detection: { box }, expressions }) => [
      [box.x, box.y, box.x + box.width, box.y + box.height],
      best(expressions),
    ]);
  }

  async function classify(file) {
    const image = await read(file);
    const expressions = await faceapi.nets.faceExpressionNet.predictExpressions(image);
    tf.dispose(image);
    return best(expressions);
  }

  async function timed(run) {
    const start = process.hrtime.bigint();
    const value = await run();
    return [Number(process.hrtime.bigint() - start) / 1e9, value];
  }

  const result = { seconds: [], faces: [], answers: [], crop_seconds: [] };
  for (const file of task.pictures) {
    const rounds = [];
    for (let round = 0; round < task.rounds; round++) {
      rounds.push(await timed(() => recognize(file)));
    }
    const seconds = rounds.map(([value]) => value).sort((a, b) => a - b);
    result.seconds.push(seconds[Math.floor(seconds.length / 2)]);
    result.faces.push(rounds[0][1]);
  }
  for (const file of task.crops) {
    const [seconds, answer] = await timed(() => classify(file));
    result.crop_seconds.push(seconds);
    result.answers.push(answer);
  }
  result.versions = ["@vladmandic/face-api", "@tensorflow/tfjs", "sharp"].map((name) => `${name} ${version(name)}`);
  result.versions = [`node ${process.versions.node}`, ...result.versions].join(", ");
  log(JSON.stringify(result));
}

main().catch((error) => {
  console.error(String(error));
  process.exit(1);
});
