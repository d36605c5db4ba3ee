import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { nodeAt } from '../../formats/yaml-tree.ts';
import { readYamlDocuments } from '../../formats/yaml.ts';
import { textOf } from './fields.ts';

const fileNames = ['kustomization.yaml', 'kustomization.yml', 'Kustomization'];
/** Patches are in the directory of their kustomization, or a little below it. */
const maxDirectories = 4;

/** Whether a kustomization in the directory of a file, or above it, lists the file as a patch. */
export async function isListedAsPatch(file: string): Promise<boolean> {
  const path = resolve(file);
  let directory = dirname(path);
  for (let count = 0; count < maxDirectories; count += 1) {
    for (const name of fileNames) {
      const text = await readFile(join(directory, name), 'utf8').catch(() => '');
      if (patchesOf(text).some((patch) => resolve(directory, patch) === path)) return true;
    }
    directory = dirname(directory);
  }
  return false;
}

/** The files that a kustomization lists as patches. */
function patchesOf(text: string): readonly string[] {
  return readYamlDocuments(text).flatMap(({ root }) => {
    const patches = nodeAt(root, ['patches']);
    const merges = nodeAt(root, ['patchesStrategicMerge']);
    const paths =
      patches?.kind === 'list' ? patches.items.map((item) => nodeAt(item, ['path'])) : [];
    const files = [...paths, ...(merges?.kind === 'list' ? merges.items : [])];
    return files.map(textOf).filter((name) => name !== '');
  });
}
