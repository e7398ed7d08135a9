import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js';
import { setTestEnvs } from '@tensorflow/tfjs-core/dist/jasmine_util.js';
import { installGlobals } from 'jasmine-core';
import { useBackend } from '../../src/tensor/backends/index.js';

installGlobals(globalThis);
jasmine.getEnv().configure({ random: false, forbidDuplicateNames: false });
const name = process.argv[2] ?? '';
if (name === 'cuda') await useBackend('native', { device: 'cuda' });
else await useBackend(name, { device: 'cpu' });
setTestEnvs([{ name, backendName: name, isDataSync: true }]);
