// Opens models with Netron's own reader and prints what it finds, or the error that it would show.
//
//     node benchmarks/netron_check.mjs NETRON FILE...
//
// NETRON: the folder with Netron's modules (view.js, node.js …), as `pip download netron` and unzip give it.
// Exit status 1 when a file does not open, or a node, value or input has no name.

import * as fs from 'node:fs';
import * as path from 'node:path';
import * as url from 'node:url';

const [folder, ...files] = process.argv.slice(2);
if (!folder || !files.length) {
    console.error('usage: node netron_check.mjs NETRON FILE...');
    process.exit(2);
}
const load = (name) => import(url.pathToFileURL(path.resolve(folder, name)));
const node = await load('node.js');
const view = await load('view.js');

class Context {
    constructor(file) {
        this.identifier = path.basename(file);
        this.folder = path.dirname(file);
        this.stream = new node.FileStream(file, 0, fs.statSync(file).size, fs.statSync(file).mtimeMs);
        this.entries = new Map();
    }

    async request(file, encoding, base) {
        const where = path.join(base === null ? folder : this.folder, file);
        if (!fs.existsSync(where)) {
            throw new Error(`The file '${file}' does not exist.`);
        }
        return encoding ? fs.readFileSync(where, encoding) : new node.FileStream(where, 0, fs.statSync(where).size, fs.statSync(where).mtimeMs);
    }

    async require(id) {
        return load(`${id}.js`);
    }

    error(error) {
        throw error;
    }
}

const values = (graph) => {
    const all = [...graph.inputs, ...graph.outputs].flatMap((argument) => argument.value);
    for (const item of graph.nodes) {
        all.push(...[...item.inputs, ...item.outputs].flatMap((argument) => argument.value));
    }
    return all.filter((value) => value && typeof value === 'object' && 'name' in value);
};

let failed = false;
for (const file of files) {
    try {
        const host = { require: (id) => load(`${id}.js`), environment: () => undefined, event: () => undefined };
        const model = await new view.ModelFactoryService(host).open(new Context(file));
        const graph = (model.modules || model.graphs)[0];
        const shown = values(graph);
        const constants = new Set(shown.filter((value) => value.initializer).map((value) => value.name));
        const nameless = graph.nodes.filter((item) => !item.name && !item.outputs.some((o) => o.value[0]?.name));
        const unknown = graph.nodes.filter((item) => !item.type || /undefined|^\d/.test(item.type.name));
        for (const value of shown) {
            value.initializer?.values; // decodes the tensor's header
            value.quantization?.toString();
        }
        const bad = nameless.length + unknown.length + shown.filter((value) => !value.name).length;
        failed ||= bad > 0;
        const ports = (list) => list.map((argument) => `${argument.name}: ${argument.value[0].type}`).join(', ');
        console.log(`${file}: ${model.format}, ${graph.nodes.length} nodes, ${constants.size} constants; ` +
            `${ports(graph.inputs)} → ${ports(graph.outputs)}; ${bad} without a name or type`);
    } catch (error) {
        failed = true;
        console.log(`${file}: ${error.name} ${error.message}`);
        if (process.env.TRACE) {
            console.log(error.stack);
        }
    }
}
process.exit(failed ? 1 : 0);
