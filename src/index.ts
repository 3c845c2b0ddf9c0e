// flashmoe as a library. Begin with createFlashmoe; examples/program.mjs uses it. What follows is what it is made of. The one
// barrel; nothing inside src imports it.

export {
  createFlashmoe,
  type Flashmoe,
  type FlashmoeOptions,
  type ServeTask,
  type SetupTask,
} from './application/flashmoe.js';
export type { Installation } from './application/read-installation.js';
export type { EngineOptions } from './settings/engine-options.js';
export type { SetupOptions } from './settings/setup-options.js';
export { FlashmoeError, exitStatus, type ErrorCode } from './base/errors.js';
export { currentHost, flashmoeHome, type Host } from './base/host.js';
export { homePaths, modelPaths, type HomePaths, type ModelPaths } from './base/paths.js';
export { addonCandidates, loadAddon } from './addon/load.js';
export { CATALOG, catalogEntry, type CatalogEntry } from './models/catalog.js';
export { estimate, verdict, type MachineFacts, type Verdict } from './models/verdict.js';
export { hubSettings } from './hub/settings.js';
export { HubClient } from './hub/client.js';
export { Controls } from './jobs/controls.js';
export type { InstallEvent, PlanSummary } from './jobs/events.js';
export type { Quant } from './models/quant.js';
export type { Receipt } from './store/receipt.js';
export { openSetup, type Setup, type SetupRequest, type SetupContext } from './installer/setup.js';
export { verifyFiles, type VerifiedFile } from './repack/verify.js';
export { openEngine, type OpenEngineOptions } from './engine/open-engine.js';
export type { ChatRequest, Engine, GenerateEvent, LoadedModel } from './engine/types.js';
export { serve, type RunningServer, type ServeOptions } from './server/serve.js';
