// Reads queries from standard input, as {language: [text, ...]}, with the grammars that Grafana's editors use, and prints
// where each is at fault, as {language: [[offset, ...], ...]}.
import { readFileSync } from "node:fs";
import { parser as logql } from "@grafana/lezer-logql";
import { parser as traceql } from "@grafana/lezer-traceql";

const parsers = { logql, traceql };

function faults(parser, text) {
  const found = [];
  parser.parse(text).iterate({
    enter(node) {
      if (node.type.isError) found.push(node.from);
    },
  });
  return found;
}

const asked = JSON.parse(readFileSync(0, "utf8"));
const told = Object.entries(asked).map(([language, texts]) => [language, texts.map((text) => faults(parsers[language], text))]);
process.stdout.write(JSON.stringify(Object.fromEntries(told)));
