// flashmoe as a library: what the command line is made of. The one barrel; nothing inside src imports it.

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
